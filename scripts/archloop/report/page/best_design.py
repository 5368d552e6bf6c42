"""The loop's best design, and how the best of its controls compare."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from archloop.data.dataset_file import read_metadata
from archloop.errors import InputError
from archloop.layout import dataset_path
from archloop.report.figures.findings import seed_programs
from archloop.report.graph_drawing import Block
from archloop.report.groups import Groups, called
from archloop.report.page.cards import drawing
from archloop.report.results import Results
from archloop.report.tables.rows import TablesByName, of_chains, total

Design = dict[str, Any]  # a row of the table `architectures`


@dataclass(frozen=True)
class BestDesign:
    """The loop's best by validation, with the test accuracy of the best of others, chosen alike.

    of: how many programs the loop generated. more, less: others by name whose best scores more or
    less on the test set. better: those that chance among its images alone would not put ahead.
    images: of the test set; error: half of the 95 % interval that these images leave.
    """

    design: Design
    of: int
    more: dict[str, float]
    less: dict[str, float]
    better: list[str]
    images: int | None
    error: float | None
    drawing: Markup | None
    made_of: str


def best_design(results: Results, tables: TablesByName, groups: Groups) -> BestDesign | None:
    """Return the best design; None where the loop has none. groups: role -> runs, the loop first."""
    designs = {role: _best(tables["architectures"], group) for role, group in groups.items()}
    best = designs["loop"]
    if best is None:
        return None

    share = best["test_accuracy"]
    images = _test_images(results, groups["loop"][0])
    error = _error(share, images)

    others = {}
    for role, design in designs.items():
        if role != "loop" and design is not None:
            others[called(role, groups[role])] = design["test_accuracy"]

    seeds = seed_programs(results, best["dataset"])
    if seeds.height:
        others["the best seed program"] = seeds["test_accuracy"][0]
    known = {}
    if share is not None:
        known = {name: score for name, score in others.items() if score is not None}

    # The difference of two shares has an error that is greater by the root of two.
    margin = 2**0.5 * (error or 0)

    own = of_chains(tables["fates"], groups["loop"])
    picture = results.blocks(best["id"])

    return BestDesign(
        design=best,
        of=total(own, "candidates"),
        more={name: score for name, score in known.items() if score > share},
        less={name: score for name, score in known.items() if score <= share},
        better=[name for name, score in known.items() if score - share > margin],
        images=images,
        error=error,
        drawing=drawing(picture) if picture else None,
        made_of=_made_of(picture),
    )


def _best(architectures: pl.DataFrame, group: list[str]) -> Design | None:
    own = of_chains(architectures, group)
    best_first = own.sort(["accuracy", "id"], descending=[True, False])
    return best_first.row(0, named=True) if best_first.height else None


def _error(share: float | None, images: int | None) -> float | None:
    """Return half of the 95 % interval of a share of the test set."""
    if share is None or not images:
        return None
    deviation: float = (share * (1 - share) / images) ** 0.5
    return 1.96 * deviation


def _test_images(results: Results, chain: str) -> int | None:
    """Return how many images the test set has, by the data set that lies beside the results.

    None where none does: the results may be a copy.
    """
    settings = results.settings.get("chains", {}).get(chain, {})
    name = settings.get("dataset", results.chains[chain].dataset)
    resources = results.folder.absolute().parent / "resources"

    try:
        return read_metadata(dataset_path(name, resources)).images["test"]
    except InputError:
        return None


def _made_of(picture: Sequence[Block]) -> str:
    """Return the blocks of a network, each named once, in words."""
    counts: Counter[str] = Counter()
    for block in picture:
        if block.label != "image":
            counts[block.label.split(" · ")[0]] += 1

    words = []
    for name, count in counts.items():
        words.append(name if count == 1 else f"{name} ({count} times)")
    return ", ".join(words)
