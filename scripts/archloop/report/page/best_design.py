"""The loop's best design, and how the best of its controls compare."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from markupsafe import Markup

from archloop.data.dataset_file import read_metadata
from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import PREFLIGHT_FILE, dataset_path, resources_beside
from archloop.report.figures.findings import measured_seed_programs
from archloop.report.graph_drawing import GraphBlock
from archloop.report.groups import Groups, called
from archloop.report.page.cards import drawing
from archloop.report.results import Results
from archloop.report.tables.per_candidate import Architecture
from archloop.report.tables.typed_tables import TablesByName, best_first, of_chains, total_count


@dataclass(frozen=True)
class BestDesign:
    """The loop's best by validation, with the test accuracy of the best of others, chosen alike.

    of: how many programs the loop generated. more, less: others by name whose best scores more or
    less on the test set. better: those that chance among its images alone would not put ahead.
    images: of the test set; error: half of the 95 % interval that these images leave.
    """

    design: Architecture
    of: int
    more: dict[str, float]
    less: dict[str, float]
    better: list[str]
    images: int | None
    error: float | None
    drawing: Markup | None
    made_of: str


def best_design(results: Results, tables: TablesByName, groups: Groups) -> BestDesign | None:
    """Return the best design; None where the loop has none.

    groups: role -> runs, the loop first.
    """
    designs = tables["architectures"]
    best = _best(designs, groups["loop"])
    if best is None:
        return None

    share = best.test_accuracy
    images = _test_images(results, groups["loop"][0])
    error = _error(share, images)
    # The difference of two shares has an error that is greater by the root of two.
    margin = 2**0.5 * (error or 0)

    more, less, better = {}, {}, []
    for name, score in _others(results, designs, groups, best.dataset).items():
        if share is None or score is None:
            continue
        if score > share:
            more[name] = score
        else:
            less[name] = score
        if score - share > margin:
            better.append(name)

    of_loop = of_chains(tables["fates"], groups["loop"])
    blocks = results.blocks(best.id)

    return BestDesign(
        design=best,
        of=total_count(of_loop, "candidates"),
        more=more,
        less=less,
        better=better,
        images=images,
        error=error,
        drawing=drawing(blocks) if blocks else None,
        made_of=_made_of(blocks),
    )


def _best(architectures: pl.DataFrame, group: list[str]) -> Architecture | None:
    designs_of_group = of_chains(architectures, group)
    for row in best_first(designs_of_group).head(1).iter_rows(named=True):
        return Architecture(**row)
    return None


def _others(
    results: Results, designs: pl.DataFrame, groups: Groups, dataset: str
) -> dict[str, float | None]:
    """Return name -> test accuracy of the best of each control and of the seed programs."""
    others = {}
    for role, group in groups.items():
        best = _best(designs, group)
        if role != "loop" and best is not None:
            name = called(role, group)
            others[name] = best.test_accuracy

    for seed in measured_seed_programs(results, dataset).head(1).iter_rows(named=True):
        others["the best seed program"] = seed["test_accuracy"]
    return others


def _error(share: float | None, images: int | None) -> float | None:
    """Return half of the 95 % interval of a share of the test set."""
    if share is None or not images:
        return None
    variance: float = share * (1 - share) / images
    half: float = 1.96 * variance**0.5
    return half


def _test_images(results: Results, chain: str) -> int | None:
    """Return how many images the test set has.

    By the data set that lies beside the results or, where they are a copy without one, by what the
    preflight counted; None where neither tells.
    """
    settings = results.settings.get("chains", {}).get(chain, {})
    name = settings.get("dataset", results.chains[chain].dataset)
    resources = resources_beside(results.folder.absolute())

    try:
        return read_metadata(dataset_path(name, resources)).images["test"]
    except InputError:
        return _images_of_preflight(results.folder, name)


def _images_of_preflight(folder: Path, dataset: str) -> int | None:
    try:
        checks = read_json(folder / PREFLIGHT_FILE, "checks")["checks"]
    except InputError:
        return None

    for check in checks:
        values = check.get("values", {})
        if values.get("dataset") == dataset and "test_images" in values:
            return int(values["test_images"])
    return None


def _made_of(blocks: Sequence[GraphBlock]) -> str:
    """Return the blocks of a network, each named once, in words."""
    counts: Counter[str] = Counter()
    for block in blocks:
        if block.label != "image":
            counts[block.label.split(" · ")[0]] += 1

    words = []
    for name, count in counts.items():
        if count > 1:
            name = f"{name} ({count} times)"
        words.append(name)
    return ", ".join(words)
