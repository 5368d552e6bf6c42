"""Random search: candidates drawn from the families by seed, chain, cycle and index."""

from archloop.corpus.draw_families import draw_families
from archloop.families.programs import family_programs
from archloop.layout import Cell


def test_drawn_candidates_depend_on_seed_chain_cycle_and_index_alone():
    whole = draw_families(Cell("random", 1), 12, 1, ["plain", "vgg"])
    parts = [row for shard in range(3) for row in draw_families(Cell("random", 1), 12, 1, ["plain", "vgg"], shard, 3)]
    assert sorted((row["id"], row["program"]) for row in parts) == [(row["id"], row["program"]) for row in whole]
    assert {row["family"] for row in whole} == {"plain", "vgg"}
    for other in (
        draw_families(Cell("random", 1), 12, 2, None),
        draw_families(Cell("random", 2), 12, 1, None),
        draw_families(Cell("again", 1), 12, 1, None),
    ):
        assert [row["program"] for row in other] != [row["program"] for row in whole]


def test_drawing_reaches_programs_that_the_seed_corpus_has_not():
    drawn = {row["program"] for row in draw_families(Cell("random", 1), 30, 1, ["plain"])}
    assert len(drawn) > 20 and not drawn <= {each.program for each in family_programs("plain")}
