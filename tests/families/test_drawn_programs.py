"""Programs that no language model writes: families in their fixed order, drawn ones, transferred ones."""

import re

import polars as pl
import pytest

from archloop.corpus.draw_families import draw_families
from archloop.corpus.tables import CORPUS
from archloop.corpus.transfer import transfer
from archloop.errors import InputError
from archloop.families.programs import AXES, family_names, family_programs, known_families, seed_programs
from archloop.layout import Cell

PLAIN_VALUES = {"chain": "main", "cycle": 3, "new_tokens": 0, "prompt_tokens": 0}


def test_drawn_candidates_are_those_of_their_seed():
    rows = draw_families(Cell("main", 3), 6, 1, ["plain", "vgg"])
    assert [row["family"] for row in rows] == ["vgg", "vgg", "plain", "plain", "vgg", "plain"]
    assert [row["seed"] for row in rows[:2]] == [5699870995157346, 615070175259282]
    for index, row in enumerate(rows):
        expected = PLAIN_VALUES | {"id": f"main-03-{index:04d}", "index": index, "shard": 0, "seed": row["seed"]}
        assert {name: row[name] for name in expected} == expected
        assert set(row) == {*expected, "program", "family"} and "class Net(nn.Module)" in row["program"]
    assert len({row["program"] for row in rows}) > 1 and rows[:3] == draw_families(
        Cell("main", 3), 3, 1, ["plain", "vgg"]
    )


def test_shards_hold_the_same_candidates_between_them():
    whole = draw_families(Cell("main", 1), 7, 1, ["plain"])
    shards = [draw_families(Cell("main", 1), 7, 1, ["plain"], shard, 3) for shard in range(3)]
    assert [[row["index"] for row in shard] for shard in shards] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [[row["shard"] for row in shard] for shard in shards] == [[0] * 3, [1] * 2, [2] * 2]
    together = sorted((row for shard in shards for row in shard), key=lambda row: row["index"])
    assert [row | {"shard": 0} for row in together] == whole


def test_transferred_designs_keep_what_they_are_and_name_where_they_come_from():
    given = {"program": "x = 1", "family": "plain", "prompt_id": "p", "prompt": "P", "references": ["r"]}
    given |= {"adapter": "ab", "seed": 9}
    rows = [given | {"id": f"a-01-{at:04d}", "chain": "a", "cycle": 1, "accuracy": 0.5} for at in range(3)]
    corpus = pl.DataFrame([{name: row.get(name) for name in CORPUS} for row in rows], schema=CORPUS)
    one, two = (transfer(corpus, Cell("main", 3), shard, 2) for shard in (0, 1))
    assert [row["origin"] for row in one] == ["a-01-0000", "a-01-0002"]
    assert two == [given | PLAIN_VALUES | {"id": "main-03-0001", "index": 1, "shard": 1, "origin": "a-01-0001"}]


def test_programs_of_a_family_are_different_ones_the_plainest_first():
    for family in family_names():
        programs = family_programs(family)
        assert [each.id for each in programs] == [f"seed-{family}-{at:03d}" for at in range(len(programs))]
        assert len({each.program for each in programs}) == len(programs) <= 24
        assert {each.family for each in programs} == {family}
        # Of the plainest settings, activations are three.
        assert not any(re.search("LeakyReLU|Hardswish|nn.ELU", each.program) for each in programs[:5])


def test_families_take_turns_and_conditions_are_kept():
    ids = [each.id for each in seed_programs(2, ["vgg", "plain"])]
    assert ids == ["seed-vgg-000", "seed-plain-000", "seed-vgg-001", "seed-plain-001"]
    short = seed_programs(None, ["vgg"], lambda program: len(program) < len(family_programs("vgg")[3].program))
    assert short and all(len(each.program) < len(family_programs("vgg")[3].program) for each in short)
    assert len(seed_programs()) == sum(len(family_programs(name)) for name in family_names())


def test_a_family_that_is_not_there_is_named():
    assert known_families(None) == known_families([]) == family_names() == sorted(family_names())
    with pytest.raises(InputError, match="there is no family what; there are "):
        known_families(["plain", "what"])


def test_the_axes_of_the_families_are_these():
    counts = {name: len(values) for name, values in AXES.items()}
    assert counts == {"widths": 7, "act": 6, "norm": 3, "pool": 2, "head": 4, "k": 3, "n": 2}
    assert all(one < two < three for one, two, three in AXES["widths"])
