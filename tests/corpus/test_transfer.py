"""Transfer: the designs of one chain as candidates of another."""

import polars as pl

from archloop.corpus.tables import CORPUS
from archloop.corpus.transfer import transfer
from archloop.layout import Cell


def test_a_transferred_design_names_where_it_comes_from():
    common = {
        "family": None,
        "prompt_id": "main-01-p0003",
        "prompt": "Design",
        "references": [],
        "adapter": "ab",
        "seed": 4,
    }
    rows = [common | {"id": f"main-01-{at:04d}", "program": f"x = {at}\n", "accuracy": 0.9} for at in (3, 5, 8)]
    corpus = pl.DataFrame([{name: row.get(name) for name in CORPUS} for row in rows], schema=CORPUS)
    (second,) = transfer(corpus, Cell("designs", 1), shard=1, shards=2)
    assert (second["id"], second["origin"], second["program"]) == ("designs-01-0001", "main-01-0005", "x = 5\n")
    assert second["prompt_id"] == "main-01-p0003" and "accuracy" not in second
