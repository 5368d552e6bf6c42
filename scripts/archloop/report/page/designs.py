"""The admitted designs as the gallery lists them: ranked within their data set, with their neighbours and families."""

import polars as pl

from archloop.report.groups import label, repeat_groups
from archloop.report.page.ancestry import ends
from archloop.report.results import Results
from archloop.report.tables.per_cycle import front
from archloop.settings.chains import SEED

LINE = {"id": pl.String, "family": pl.String, "steps": pl.Int32}


def listed(results: Results, architectures: pl.DataFrame) -> pl.DataFrame:
    """Return the designs, best first within their data set, that of the first chain first.

    Beside the columns of the table `architectures`: rank and front (no other is as small and as accurate) within the
    data set, by the accuracy that selects; group: of repeats; nearest_accuracy: None where it was measured on another
    data set; family, steps: of the seed program where the line of nearest neighbours ends, and how far that is; found:
    how many valid candidates compute the same graph.
    """
    known = results.corpus.unique("id", keep="first", maintain_order=True)
    families = dict(known.filter(chain=SEED).select("id", "family").iter_rows())
    groups = {chain: label(group) for group in repeat_groups(results) for chain in group}
    datasets = dict.fromkeys(facts["dataset"] for facts in results.chains.values())
    order = {name: place for place, name in enumerate(datasets)}
    line_ends = ends(dict(architectures.select("id", "nearest_id").iter_rows()), families)
    lines = [
        {"id": name, "family": families[end[0]], "steps": end[1]}
        for name, end in line_ends.items()
        if end is not None
    ]
    graphs = (
        results.candidates.drop_nulls("graph_digest").group_by("graph_digest").agg(found=pl.len())
    )
    neighbours = known.select(
        nearest_id="id", nearest_accuracy="accuracy", nearest_dataset="dataset"
    )
    rows = (
        architectures.unique("id", keep="first", maintain_order=True)
        .join(known.select("id"), on="id", how="semi", maintain_order="left")
        .join(neighbours, on="nearest_id", how="left", maintain_order="left")
        .join(graphs, on="graph_digest", how="left", maintain_order="left")
        .join(pl.DataFrame(lines, LINE), on="id", how="left", maintain_order="left")
        .with_columns(
            nearest_accuracy=pl.when(pl.col("nearest_dataset") == pl.col("dataset")).then(
                "nearest_accuracy"
            ),
            group=pl.col("chain").replace_strict(
                groups, default=pl.col("chain"), return_dtype=pl.String
            ),
            place=pl.col("dataset").replace_strict(
                order, default=len(order), return_dtype=pl.Int32
            ),
        )
        .sort("place", "accuracy", "id", descending=[False, True, False], nulls_last=True)
    )
    return rows.with_columns(rank=pl.int_range(1, pl.len() + 1).over("dataset"), front=_front(rows))


def _front(rows: pl.DataFrame) -> pl.Series:
    """Mark the rows that are on the front of their data set."""
    marked = [name for own in rows.partition_by("dataset") for name in own.filter(front(own))["id"]]
    return rows["id"].is_in(marked)
