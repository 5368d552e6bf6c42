"""The gallery's cards: a dozen designs worth a first look, in HTML, so that they need no script.

They are chosen by the accuracy that selects, never by that of the test set, which is shown beside
it.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import polars as pl
from markupsafe import Markup

from archloop.report.graph_drawing import GraphBlock
from archloop.report.page.designs import ListedDesign, designs_of
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
LAST_BIN_END = BINS - 1e-9  # so that the best lies in the last bin, not after it


@dataclass(frozen=True)
class Changes:
    """The blocks that a design has more of than its neighbour, and fewer, most frequent first."""

    more: list[str]
    less: list[str]


@dataclass(frozen=True)
class Card:
    """What the page says on a card.

    design: its row of the list. why: what it is shown for. scale: where its score lies among all.
    better: the share of designs on its data set that score less. middle: the median similarity.
    """

    design: ListedDesign
    why: str
    href: str
    nearest_href: str | None
    drawing: Markup
    scale: Markup
    better: float | None
    middle: float | None
    changes: Changes | None


def cards(results: Results, rows: pl.DataFrame) -> list[Card]:
    """Return the cards. rows: of `listed`; the cards are of its first data set."""
    if rows.is_empty():
        return []

    designs = rows.filter(dataset=rows["dataset"].first())
    # Of a run whose judge scored no test set, the validation split is all there is to compare by.
    tested = designs["test_accuracy"].null_count() < designs.height
    measure = "test_accuracy" if tested else "accuracy"
    scores = designs[measure].drop_nulls().sort().to_list()
    middle = designs.select(pl.median("nearest_similarity")).item()

    shown = []
    for design, why in chosen(designs):
        score = design.test_accuracy if tested else design.accuracy
        nearest = design.nearest_id
        blocks = results.blocks(design.id)
        shown.append(
            Card(
                design=design,
                why=why,
                href=_link(design.id),
                nearest_href=_link(nearest) if nearest else None,
                drawing=drawing(blocks),
                scale=scale(scores, score),
                better=_share_below(scores, score),
                middle=middle,
                changes=changes(results.blocks(nearest or ""), blocks),
            )
        )

    return shown


def _share_below(scores: list[float], score: float | None) -> float | None:
    """Return the share of scores below one. scores: sorted."""
    if score is None:
        return None
    return bisect_left(scores, score) / len(scores)


def _link(name: str) -> str:
    return f"#design={quote(name, safe='')}"


def chosen(ranked: pl.DataFrame) -> list[tuple[ListedDesign, str]]:
    """Return (design, why it is shown), no two of one graph.

    ranked: the designs of one data set, best first.
    """
    picked: dict[str, tuple[ListedDesign, str]] = {}

    def take(designs: pl.DataFrame, why: str, most: int = 1) -> None:
        for design in designs_of(designs):
            graph = design.graph_digest or design.id
            if most and len(picked) < CARDS and graph not in picked:
                picked[graph] = design, why
                most -= 1

    # In the order of importance: what is picked once is not picked again for a lesser reason.
    parameters = pl.col("parameters")
    for low, high in zip((0, *SIZES), SIZES):
        inside = parameters.is_between(low, high, "left")
        take(ranked.filter(inside), f"best below {high:,} parameters")

    largest = SIZES[-1]
    take(ranked.filter(parameters >= largest), f"best of {largest:,} and more parameters")

    best_quarter = ranked.head(max(1, ranked.height // 4))
    compared = best_quarter.drop_nulls("nearest_similarity")
    least_alike = compared.sort("nearest_similarity", "id")
    take(least_alike, "least like anything known, among the best quarter", NEWEST)

    of_families = ranked.drop_nulls("family").partition_by("family")
    for members in of_families:
        take(members, f"best whose line leads to the family {members['family'][0]}")
    take(ranked, "among the best", CARDS)
    return list(picked.values())


def changes(before: Sequence[GraphBlock], after: Sequence[GraphBlock]) -> Changes | None:
    """Return what a design has that its neighbour has not; None where a graph is not known."""
    if not before or not after:
        return None
    old = Counter(block.label for block in before)
    new = Counter(block.label for block in after)
    more, less = new - old, old - new
    return Changes(more=_most_common(more), less=_most_common(less))


def _most_common(labels: Counter[str]) -> list[str]:
    words = []
    for label, count in labels.most_common(MOST_CHANGES):
        if count > 1:
            label = f"{count} × {label}"
        words.append(label)
    return words


def drawing(blocks: Sequence[GraphBlock]) -> Markup:
    """Return a network from left to right; what does not fit is left out.

    A bar is a block, as high as its channels; below it, how wide its images are. Arcs are what
    skips blocks.
    """
    if not blocks:
        return Markup("")

    shown = blocks[:MOST_BLOCKS]

    # An arc from the block just before would only repeat the row, so those are not drawn.
    bars: list[str] = []
    arcs: list[str] = []
    for index, block in enumerate(shown):
        bars.append(_bar(index, block))
        for source in block.inputs:
            if index - source > 1 and len(arcs) < MOST_ARCS:
                arcs.append(_arc(source, index))

    width = len(shown) * STEP
    box = f"0 0 {width} {HEIGHT}"
    size = f'width="{width}" height="{HEIGHT}" viewBox="{box}"'
    path = ""
    if arcs:
        path = f'<path class="arc" d="{"".join(arcs)}"/>'
    return Markup(
        f'<svg class="net" {size} preserveAspectRatio="xMinYMid" aria-hidden="true">'
        f"{path}{''.join(bars)}</svg>"
    )


def _bar(index: int, block: GraphBlock) -> str:
    """Return two bars: up for the channels of a block, down for the width of its images."""
    texts = block.shape.split("×")
    sizes = [int(size) for size in texts if size.isdecimal()]
    channels = sizes[0] if sizes else 0
    pixels = sizes[1] if len(sizes) > 2 else 1

    # By their powers of two: networks double and halve them, and 512 channels have to fit.
    up = 3 + min(BAR_HEIGHT - 3, 2.2 * channels.bit_length())
    down = 1.5 * pixels.bit_length()
    kind = "a" if block.kind == "+" else block.kind  # as the name of a class
    top = f"{BASE - up:.1f}"
    below = f"{BASE + 1}"
    return _rectangle(kind, index, top, up) + _rectangle("n", index, below, down)


def _rectangle(kind: str, index: int, top: str, height: float) -> str:
    corner = f'x="{index * STEP}" y="{top}"'
    return f'<rect class="b-{kind}" {corner} width="{BAR_WIDTH}" height="{height:.1f}"/>'


def _arc(source: int, target: int) -> str:
    start = source * STEP + BAR_WIDTH / 2
    end = target * STEP + BAR_WIDTH / 2
    middle = (start + end) / 2
    top = ARC_BASE - min(HIGHEST_ARC, 5 + (end - start) / 4)
    curve = f"Q{middle:g} {top:.1f} {end:g} {ARC_BASE}"
    return f"M{start:g} {ARC_BASE}{curve}"


def scale(scores: Sequence[float], value: float | None) -> Markup:
    """Return where a score lies among all: grey bars for how many score so, a line for this one."""
    if value is None or not scores:
        return Markup("")

    low, high = min(scores), max(scores)
    if low == high:
        return Markup("")

    counts: Counter[int] = Counter()
    for score in scores:
        share = (score - low) / (high - low)
        counts[int(share * LAST_BIN_END)] += 1
    most = max(counts.values())

    # One path for all bars: a page has a dozen scales of 40 bars each.
    bars = []
    for index, count in sorted(counts.items()):
        left = BIN_WIDTH * index + 2
        height = 2 + 16 * count / most
        bars.append(f"M{left} 20v-{height:.1f}")

    width = BIN_WIDTH * BINS
    mark = width * (value - low) / (high - low)

    return Markup(
        f'<svg class="scale" width="{width}" height="21" aria-hidden="true">'
        f'<path class="all" d="{"".join(bars)}"/>'
        f'<path class="own" d="M{mark:.1f} 0v21"/></svg>'
    )
