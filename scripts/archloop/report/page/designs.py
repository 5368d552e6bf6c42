"""The admitted designs as the gallery lists them: ranked in their data set, with neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from archloop.report.groups import label, repeat_groups
from archloop.report.page.ancestry import ends
from archloop.report.results import Results
from archloop.report.tables.per_candidate import Architecture, front
from archloop.settings.chains import SEED

LINE = {"id": pl.String, "family": pl.String, "steps": pl.Int32}


@dataclass(frozen=True)
class ListedDesign(Architecture):
    """A row of the list; see `listed`. position: of its data set among all."""

    nearest_accuracy: float | None
    nearest_dataset: str | None
    found: int | None
    family: str | None
    steps: int | None
    group: str
    position: int
    front: bool


def designs_of(rows: pl.DataFrame) -> Iterator[ListedDesign]:
    """Yield the designs of the list. rows: of `listed`."""
    for row in rows.iter_rows(named=True):
        yield ListedDesign(**row)


def listed(results: Results, architectures: pl.DataFrame) -> pl.DataFrame:
    """Return the designs, best first within their data set, that of the first chain first.

    Beside the columns of the table `architectures`: rank and front (no other is as small and as
    accurate) within the data set, by the accuracy that selects; group: of repeats;
    nearest_accuracy: None where it was measured on another data set; family, steps: of the seed
    program where the line of nearest neighbours ends, and how far that is; found: how many valid
    candidates compute the same graph.
    """
    known = results.corpus.unique("id", keep="first", maintain_order=True)
    neighbours = known.select(
        nearest_id="id", nearest_accuracy="accuracy", nearest_dataset="dataset"
    )
    graphs = results.candidates.drop_nulls("graph_digest")
    repeated = graphs.group_by("graph_digest").agg(found=pl.len())

    groups = {}
    for group in repeat_groups(results):
        groups.update(dict.fromkeys(group, label(group)))

    order: dict[str, int] = {}
    for of_run in results.chains.values():
        order.setdefault(of_run.dataset, len(order))
    same_dataset = pl.col("nearest_dataset") == pl.col("dataset")
    chain = pl.col("chain")
    group_of = chain.replace_strict(groups, default=chain, return_dtype=pl.String)
    last = len(order)
    position_of = pl.col("dataset").replace_strict(order, default=last, return_dtype=pl.Int32)

    designs = architectures.unique("id", keep="first", maintain_order=True)
    rows = (
        designs.join(known.select("id"), on="id", how="semi", maintain_order="left")
        .join(neighbours, on="nearest_id", how="left", maintain_order="left")
        .join(repeated, on="graph_digest", how="left", maintain_order="left")
        .join(_lines(known, architectures), on="id", how="left", maintain_order="left")
        .with_columns(
            nearest_accuracy=pl.when(same_dataset).then("nearest_accuracy"),
            group=group_of,
            position=position_of,
        )
        .sort("position", "accuracy", "id", descending=[False, True, False], nulls_last=True)
    )

    rank = pl.int_range(1, pl.len() + 1)
    return rows.with_columns(rank=rank.over("dataset"), front=_front(rows))


def _lines(known: pl.DataFrame, architectures: pl.DataFrame) -> pl.DataFrame:
    """Return id, family and steps of the designs whose line ends at a seed program."""
    seeds = known.filter(chain=SEED).select("id", "family")
    families = dict(seeds.iter_rows())
    neighbours = architectures.select("id", "nearest_id")
    nearest = dict(neighbours.iter_rows())

    rows = []
    for name, end in ends(nearest, families).items():
        if end:
            family = families[end.seed]
            rows.append((name, family, end.steps))

    return pl.DataFrame(rows, LINE, orient="row")


def _front(rows: pl.DataFrame) -> pl.Series:
    """Mark the rows that are on the front of their data set."""
    marked: list[str] = []
    for designs in rows.partition_by("dataset"):
        on_front = designs.filter(front(designs))
        marked += on_front["id"].to_list()
    return rows["id"].is_in(marked)
