"""What each metric says of an edit: the table of edit_pairs.py, pair by pair."""

import pytest
from computed_graphs import graph
from edit_pairs import PAIRS

from archloop.novelty.minhash import jaccard, shingle_sets


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_verdict_of_the_text(pair):
    similarity = jaccard(*shingle_sets([pair.base, pair.edited], 10))
    assert (similarity >= 0.9) is pair.text_copy, f"{similarity:.3f}"


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_verdict_of_the_graph(pair):
    assert (graph(pair.base)["digest"] == graph(pair.edited)["digest"]) is pair.graph_copy


def test_the_table_is_as_large_as_promised():
    assert len(PAIRS) >= 25
    assert len({pair.base for pair in PAIRS}) >= 5
    assert all(pair.edited != pair.base for pair in PAIRS)
