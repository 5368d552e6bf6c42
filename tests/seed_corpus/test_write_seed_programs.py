"""The programs of the seed corpus as candidates: dealt out to shards, none too long for the model."""

import pytest

from archloop.families.programs import family_programs
from archloop.files import read_json, read_jsonl
from archloop.model.loading import token_counter
from archloop.seed_corpus.write_seed_programs import write_seed_programs
from archloop.settings.sections import SeedCorpus


@pytest.fixture
def written(tiny_model, tmp_path):
    """Return a function that writes the seed programs of some settings to two shards and returns both."""

    def write(**changed: object) -> tuple[list[dict], list[dict]]:
        settings = {"source": "families", "lemur_folder": None, "families": ["plain", "vgg"], "per_family": 2}
        settings |= {"max_program_tokens": None, "shards": 2}
        outputs = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
        write_seed_programs(SeedCorpus(**(settings | changed)), tiny_model, outputs, tmp_path / "left_out.json")
        assert read_json(tmp_path / "left_out.json") == []
        return tuple(map(read_jsonl, outputs))

    return write


def test_programs_of_the_families_take_turns_and_so_do_the_shards(written):
    one, two = written()
    assert [row["id"] for row in one] == ["seed-plain-000", "seed-plain-001"]
    assert [row["id"] for row in two] == ["seed-vgg-000", "seed-vgg-001"]
    assert [(row["index"], row["shard"]) for row in one + two] == [(0, 0), (2, 0), (1, 1), (3, 1)]
    for row in one + two:
        assert (row["chain"], row["cycle"]) == ("seed", 0)
        assert row["program"] == family_programs(row["family"])[int(row["id"][-3:])].program


def test_a_program_of_as_many_tokens_as_are_allowed_stays_and_one_of_more_does_not(written, tiny_model):
    count = token_counter(tiny_model)
    longest = count(family_programs("plain")[0].program)
    found = written(families=["plain"], per_family=None, max_program_tokens=longest)
    kept = [row["program"] for rows in found for row in rows]
    fitting = {each.program for each in family_programs("plain") if count(each.program) <= longest}
    assert set(kept) == fitting and family_programs("plain")[0].program in kept
    assert len(fitting) < len(family_programs("plain"))
