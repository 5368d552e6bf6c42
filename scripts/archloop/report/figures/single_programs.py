"""The figures of single programs: newer and better, best found by effort, size and accuracy."""

from dataclasses import dataclass
from urllib.parse import quote

import altair as alt
import polars as pl

from archloop.report.figures.panels import (
    BESIDE,
    CARD,
    FONT_SIZE,
    HEIGHT,
    INK,
    LABEL_HEIGHT,
    MUTED,
    NARROW,
    WIDTH,
    EndLabel,
    Panel,
    data_chart,
    end_labels,
    layered,
    record_chart,
    table_chart,
)

# Not by colour, which stands for the fate of a program alone.
DASHES = {
    "loop": [1, 0],
    "frozen": [2, 3],
    "fixed": [8, 3],
    "random": [5, 3],
    "seed": [1, 2],
}
SIZES = [1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7]
MOST_NUMBERED = 12
# Bins of the densities: of similarity and gain, and of the size (of a power of ten) and accuracy.
BIN = 20
LAST_BIN = BIN - 1
HALF_THE_BINS = BIN // 2  # of gain, which is between -1 and 1 and drawn from -0.5 to 0.5
SIZE_BIN, ACCURACY_BIN = 12, 50
ROOM = 2  # per cent above and below the lines of `effort`
# How thick the lines are: of the loop, and of all that it is compared with.
LOOP_WIDTH, OTHER_WIDTH = 2.6, 1.5
LOOP_FRONT_WIDTH, OTHER_FRONT_WIDTH = 2.4, 1.3


@dataclass(frozen=True)
class CornerText:
    """A text at (x, y) of a figure."""

    x: float
    y: float
    text: str


def draw_newer(
    title: str, points: pl.DataFrame, gate: float, noise: float | None, says: str
) -> Panel:
    """Similarity to the nearest known program against the gain in accuracy over it.

    points: similarity, gain. gate: the similarity of a copy. noise: the judge's, where known.
    """
    across = alt.X(
        "x:Q",
        scale=alt.Scale(domain=[0, 1], nice=False),
        title="similarity to the nearest",
        axis=alt.Axis(tickCount=5),
    )

    up = alt.Y(
        "y:Q",
        scale=alt.Scale(domain=[-50, 50]),
        title="points better than that",
        axis=alt.Axis(tickCount=5),
    )

    # The shade of a bin ends at 6 %: one dense bin would make all others invisible.
    density = alt.Scale(domain=[0, 6], range=[0.06, 1], clamp=True)
    shade = alt.Opacity("share:Q", legend=None, scale=density)
    cells = table_chart(_density(points)).encode(x=across, x2="x2", y=up, y2="y2")
    zero = data_chart([{"y": 0}]).encode(y=up)
    copies = data_chart([{"x": gate}]).encode(x=across)
    layers: list[alt.Chart] = [
        cells.mark_rect(color=MUTED).encode(opacity=shade),
        zero.mark_rule(color=INK),
        copies.mark_rule(color=INK, strokeDash=[4, 3]),
    ]
    if noise:
        bar = {"x": 0.015, "y": -100 * noise, "y2": 100 * noise}
        ends = data_chart([bar]).encode(x=across, y=up, y2="y2")
        layers.append(ends.mark_rule(color=INK, strokeWidth=3))

    layers.append(_quadrants(points, gate, across, up))
    return Panel(title, layered(layers, NARROW), says)


def _density(points: pl.DataFrame) -> pl.DataFrame:
    """Return the share of points in each bin of similarity (x) and gain (y, in per cent)."""
    similarity_bin = (pl.col("similarity") * BIN).floor()
    gain_bin = (pl.col("gain") * BIN).floor()
    binned = points.with_columns(
        x=similarity_bin.clip(0, LAST_BIN) / BIN,
        y=gain_bin.clip(-HALF_THE_BINS, HALF_THE_BINS - 1) / BIN,
    )
    counts = _counted(binned)

    gain = 100 * pl.col("y")
    every = max(1, points.height)
    return counts.select(
        share=100 * pl.col("count") / every,
        x="x",
        x2=pl.col("x") + 1 / BIN,
        y=gain,
        y2=gain + 100 // BIN,
    )


def _counted(binned: pl.DataFrame) -> pl.DataFrame:
    """Return how many rows there are of each x and y."""
    bins = binned.group_by("x", "y")
    return bins.len("count").sort("x", "y")


def _quadrants(points: pl.DataFrame, gate: float, across: alt.X, up: alt.Y) -> alt.Chart:
    """Return the share of points in each quadrant, as text in its corner."""
    near = pl.col("similarity") >= gate
    better = pl.col("gain") > 0
    every = max(1, points.height)

    # The right ones stand outside: between the gate and the edge there is no room for them.
    columns = [(~near, 0.05), (near, 1.01)]
    rows = [(better, 44), (~better, -44)]
    texts = []
    for where, x in columns:
        for how, y in rows:
            count = points.filter(where & how).height
            share = 100 * count / every
            texts.append(CornerText(x, y, f"{share:.0f} %"))

    words = record_chart(texts).encode(x=across, y=up, text="text:N")
    corners: alt.Chart = words.mark_text(align="left", fontSize=12, fontWeight=600, color=INK)
    return corners


def draw_effort(title: str, lines: pl.DataFrame, seed_best: float | None, says: str) -> Panel:
    """Best found so far.

    lines: role, label, chain (None for the mean over runs), programs, test (in per cent).
    """
    scores = lines["test"].to_list()
    if seed_best:
        scores.append(seed_best)
    low = min(scores) - ROOM
    high = max(scores) + ROOM
    y = alt.Y(
        "test:Q",
        title="test accuracy of the best, %",
        axis=alt.Axis(tickCount=5),
        scale=alt.Scale(domain=[low, high], nice=False),
    )

    x = alt.X(
        "programs:Q",
        title="programs generated by a run",
        axis=alt.Axis(tickCount=4, format=",d"),
    )
    # Thin and below: a run is there to show how far the mean of its group may be trusted.
    of_a_run = pl.col("chain").is_not_null()
    single = table_chart(lines.filter(of_a_run)).encode(x=x, y=y, detail="chain:N")
    layers: list[alt.Chart] = [single.mark_line(color=MUTED, strokeWidth=0.7, opacity=0.6)]

    labels = []
    means = lines.filter(~of_a_run).sort("programs")
    for role, dash in DASHES.items():
        mean = means.filter(role=role)
        if mean.height:
            width = alt.value(LOOP_WIDTH if role == "loop" else OTHER_WIDTH)
            line = table_chart(mean).mark_line(color=INK, strokeDash=dash)
            layers.append(line.encode(x=x, y=y, strokeWidth=width))
            last = mean["test"][-1]
            labels.append(_end(mean, "programs", "test", f" {last:.1f}"))

    if seed_best:
        rule = data_chart([{"test": seed_best}]).encode(y=y)
        layers.append(rule.mark_rule(color=INK, strokeDash=DASHES["seed"]))
        text = f"best seed {seed_best:.1f}"
        labels.append(EndLabel(0.0, seed_best, text, seed_best))

    words = _at_the_ends(labels, high - low).encode(x=alt.value(BESIDE))
    layers.append(words.mark_text(align="left", fontSize=FONT_SIZE, dx=6))
    return Panel(title, layered(layers, BESIDE), says)


def _end(line: pl.DataFrame, x: str, y: str, number: str = "") -> EndLabel:
    """Return the label at the end of a line of `role`, with what follows its name."""
    name = line["label"][-1]
    last = line.row(-1, named=True)
    return EndLabel(x=last[x], y=last[y], text=f"{name}{number}", position=last[y])


def _at_the_ends(labels: list[EndLabel], spread: float) -> alt.Chart:
    """Return the labels in ink, none on another. spread: of the axis, in its units."""
    # The height of a label in units of the axis, in which its position is given.
    least = spread / HEIGHT * LABEL_HEIGHT
    y = alt.Y("position:Q")
    chart = record_chart(end_labels(labels, least))
    words: alt.Chart = chart.encode(y=y, text="text:N", color=alt.value(INK))
    return words


def draw_sizes(title: str, cloud: pl.DataFrame, fronts: pl.DataFrame, says: str) -> Panel:
    """Size against test accuracy.

    cloud: parameters, test. fronts: role, label, id, parameters, test, number (or None).
    """
    across = alt.X(
        "x:Q",
        scale=alt.Scale(type="log", nice=False),
        title="parameters",
        axis=alt.Axis(format="~s", values=SIZES, grid=False),
    )

    up = alt.Y(
        "y:Q",
        scale=alt.Scale(zero=False, nice=False),
        title="test accuracy, %",
        axis=alt.Axis(tickCount=5),
    )

    # By the logarithm of the count: one bin holds hundreds of designs where most hold a few.
    density = alt.Scale(type="log", range=[0.12, 0.6])
    shade = alt.Opacity("count:Q", legend=None, scale=density)
    cells = table_chart(_size_density(cloud)).encode(x=across, x2="x2", y=up, y2="y2")
    layers: list[alt.Chart] = [cells.mark_rect(color=MUTED).encode(opacity=shade)]

    labels = []
    in_per_cent = fronts.with_columns(x="parameters", y=100 * pl.col("test"))
    for role, dash in DASHES.items():
        front = in_per_cent.filter(role=role).sort("parameters")
        if front.height:
            width = alt.value(LOOP_FRONT_WIDTH if role == "loop" else OTHER_FRONT_WIDTH)
            line = table_chart(front).mark_line(color=INK, strokeDash=dash)
            layers.append(line.encode(x=across, y=up, strokeWidth=width))
            labels.append(_end(front, "x", "y"))

    # After all lines, so that no line crosses a number.
    layers += _numbered(in_per_cent, across, up)

    spread = 1.0
    if cloud.height:
        scores = cloud["test"].to_list()
        spread = 100 * (max(scores) - min(scores))
    words = _at_the_ends(labels, spread).encode(x=across)
    layers.append(words.mark_text(align="left", fontSize=FONT_SIZE, dx=5))
    return Panel(title, layered(layers, WIDTH), says)


def _size_density(cloud: pl.DataFrame) -> pl.DataFrame:
    """Return how many designs are in each bin of size (x) and accuracy (y, in per cent)."""
    drawn = cloud.filter(pl.col("parameters") > 0)  # 0 has no place on a logarithmic axis
    size_bin = (pl.col("parameters").log10() * SIZE_BIN).floor()
    accuracy_bin = (pl.col("test") * ACCURACY_BIN).floor()
    binned = drawn.with_columns(x=size_bin / SIZE_BIN, y=accuracy_bin / ACCURACY_BIN)

    accuracy = 100 * pl.col("y")
    return _counted(binned).select(
        "count",
        x=10 ** pl.col("x"),
        x2=10 ** (pl.col("x") + 1 / SIZE_BIN),
        y=accuracy,
        y2=accuracy + 100 // ACCURACY_BIN,
    )


def _numbered(fronts: pl.DataFrame, across: alt.X, up: alt.Y) -> list[alt.Chart]:
    """Return the designs of a front that have a number, each a link to its place in the gallery.

    fronts: x, y, id, and number (or None).
    """
    numbered = fronts.filter(pl.col("number").is_not_null())
    if numbered.is_empty():
        return []

    links = [f"#design={quote(name)}" for name in numbered["id"]]
    rows = numbered.select("number", "x", "y", link=pl.Series(links))
    points = table_chart(rows).encode(x=across, y=up, href="link:N")
    number = points.mark_text(color=CARD, fontSize=10, fontWeight=600)
    return [
        points.mark_circle(color=INK, size=190, opacity=1),
        number.encode(text="number:Q"),
    ]
