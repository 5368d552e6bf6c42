"""The gallery's cards: a dozen designs worth a first look, drawn in HTML, so that they need no script.

They are chosen by the accuracy that selects, never by that of the test set, which is shown beside it.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import polars as pl
from markupsafe import Markup

from archloop.report.graph_drawing import Block
from archloop.report.results import Results

CARDS = 12
SIZES = (30_000, 100_000, 300_000)  # parameters, the upper ends of the classes but the last
NEWEST = 4
MOST_CHANGES = 3

# The drawing of a network, in pixels: bars stand on BASE, arcs on ARC_BASE.
MOST_BLOCKS, MOST_ARCS = 60, 40
BAR_WIDTH, BAR_HEIGHT = 6, 24
STEP = BAR_WIDTH + 1
HEIGHT, BASE, ARC_BASE, HIGHEST_ARC = 52, 40, 15, 26
# The scale of scores: bins of so many pixels.
BINS, BIN_WIDTH = 40, 4

Design = dict[str, Any]  # a row of designs.listed


@dataclass(frozen=True)
class Changes:
    """The blocks that a design has more of than its neighbour, and fewer, the most frequent first."""

    more: list[str]
    less: list[str]


@dataclass(frozen=True)
class Card:
    """What the page says on a card.

    design: its row of the list. why: what it is shown for. scale: where its score lies among all.
    better: the share of designs on its data set that score less. middle: the median similarity.
    """

    design: Design
    why: str
    href: str
    nearest_href: str | None
    picture: Markup
    scale: Markup
    better: float | None
    middle: float | None
    changes: Changes | None


def cards(results: Results, rows: pl.DataFrame) -> list[Card]:
    """Return the cards. rows: of `listed`; the cards are of its first data set."""
    if rows.is_empty():
        return []

    own = rows.filter(dataset=rows["dataset"].first())
    # Of a run whose judge scored no test set, the validation split is all there is to compare by.
    tested = own["test_accuracy"].null_count() < own.height
    measure = "test_accuracy" if tested else "accuracy"
    scores = own.sort(measure)[measure].drop_nulls().to_list()
    middle = own.select(pl.col("nearest_similarity").median()).item()

    found = []
    for design, why in chosen(own):
        score, nearest = design[measure], design["nearest_id"]
        found.append(
            Card(
                design=design,
                why=why,
                href=_link(design["id"]),
                nearest_href=_link(nearest) if nearest else None,
                picture=drawing(results.blocks(design["id"])),
                scale=scale(scores, score),
                better=_share_below(scores, score),
                middle=middle,
                changes=changes(results.blocks(nearest or ""), results.blocks(design["id"])),
            )
        )

    return found


def _share_below(scores: list[float], score: float | None) -> float | None:
    """Return the share of scores below one. scores: sorted."""
    if score is None:
        return None
    return bisect_left(scores, score) / len(scores)


def _link(name: str) -> str:
    return f"#design={quote(name, safe='')}"


def chosen(own: pl.DataFrame) -> list[tuple[Design, str]]:
    """Return (design, why it is shown), no two of one graph.

    own: the designs of one data set, best first.
    """
    found: dict[str, tuple[Design, str]] = {}

    def take(designs: pl.DataFrame, why: str, most: int = 1) -> None:
        for row in designs.iter_rows(named=True):
            graph = row["graph_digest"] or row["id"]
            if most and len(found) < CARDS and graph not in found:
                found[graph] = row, why
                most -= 1

    parameters = pl.col("parameters")
    for low, high in zip((0, *SIZES), SIZES):
        inside = parameters.is_between(low, high, "left")
        take(own.filter(inside), f"best below {high:,} parameters")

    take(own.filter(parameters >= SIZES[-1]), f"best of {SIZES[-1]:,} and more parameters")

    best_quarter = own.head(max(1, own.height // 4)).drop_nulls("nearest_similarity")
    least_alike = best_quarter.sort("nearest_similarity", "id")
    take(least_alike, "least like anything known, among the best quarter", NEWEST)

    for (family,), members in own.drop_nulls("family").group_by("family", maintain_order=True):
        take(members, f"best whose line leads to the family {family}")
    take(own, "among the best", CARDS)
    return list(found.values())


def changes(before: Sequence[Block], after: Sequence[Block]) -> Changes | None:
    """Return what a design has that its neighbour has not; None where a graph is not known."""
    if not before or not after:
        return None
    old = Counter(block.label for block in before)
    new = Counter(block.label for block in after)
    return Changes(more=_most_common(new - old), less=_most_common(old - new))


def _most_common(labels: Counter[str]) -> list[str]:
    words = []
    for label, count in labels.most_common(MOST_CHANGES):
        words.append(f"{count} × {label}" if count > 1 else label)
    return words


def drawing(blocks: Sequence[Block]) -> Markup:
    """Return a network from left to right; what does not fit is left out.

    A bar is a block, as high as its channels; below it, how wide its images are. Arcs are what
    skips blocks.
    """
    if not blocks:
        return Markup("")

    shown = blocks[:MOST_BLOCKS]

    bars: list[str] = []
    arcs: list[str] = []
    for index, block in enumerate(shown):
        bars.append(_bar(index, block))
        for source in block.inputs:
            if index - source > 1 and len(arcs) < MOST_ARCS:
                arcs.append(_arc(source, index))

    width = len(shown) * STEP
    size = f'width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}"'
    path = ""
    if arcs:
        path = f'<path class="arc" d="{"".join(arcs)}"/>'
    return Markup(
        f'<svg class="net" {size} preserveAspectRatio="xMinYMid" aria-hidden="true">'
        f"{path}{''.join(bars)}</svg>"
    )


def _bar(index: int, block: Block) -> str:
    """Return two bars: up for the channels of a block, down for the width of its images."""
    sizes = [int(size) for size in block.shape.split("×") if size.isdecimal()]
    channels = sizes[0] if sizes else 0
    pixels = sizes[1] if len(sizes) > 2 else 1
    up = 3 + min(BAR_HEIGHT - 3, 2.2 * channels.bit_length())
    down = 1.5 * pixels.bit_length()
    kind = "a" if block.kind == "+" else block.kind  # as the name of a class
    left = f'x="{index * STEP}"'

    return (
        f'<rect class="b-{kind}" {left} y="{BASE - up:.1f}" width="{BAR_WIDTH}" height="{up:.1f}"/>'
        f'<rect class="b-n" {left} y="{BASE + 1}" width="{BAR_WIDTH}" height="{down:.1f}"/>'
    )


def _arc(source: int, target: int) -> str:
    start = source * STEP + BAR_WIDTH / 2
    end = target * STEP + BAR_WIDTH / 2
    top = ARC_BASE - min(HIGHEST_ARC, 5 + (end - start) / 4)
    return f"M{start:g} {ARC_BASE}Q{(start + end) / 2:g} {top:.1f} {end:g} {ARC_BASE}"


def scale(scores: Sequence[float], value: float | None) -> Markup:
    """Return where a score lies among all: grey bars for how many score so, a line for this one."""
    if value is None or not scores:
        return Markup("")

    low, high = min(scores), max(scores)
    if low == high:
        return Markup("")

    counts: Counter[int] = Counter()
    for score in scores:
        counts[int((score - low) / (high - low) * (BINS - 1e-9))] += 1
    most = max(counts.values())

    bars = []
    for index, count in sorted(counts.items()):
        bars.append(f"M{BIN_WIDTH * index + 2} 20v-{2 + 16 * count / most:.1f}")

    width = BIN_WIDTH * BINS
    mark = width * (value - low) / (high - low)

    return Markup(
        f'<svg class="scale" width="{width}" height="21" aria-hidden="true">'
        f'<path class="all" d="{"".join(bars)}"/>'
        f'<path class="own" d="M{mark:.1f} 0v21"/></svg>'
    )
