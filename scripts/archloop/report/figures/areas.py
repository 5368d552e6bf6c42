"""The figure of what becomes of 100 programs: a band for each fate, over the cycles of a group."""

from dataclasses import dataclass

import altair as alt
import polars as pl

from archloop.report.figures.panels import (
    CARD,
    FONT_SIZE,
    INK,
    NARROW,
    Panel,
    layered,
    record_chart,
    table_chart,
)
from archloop.report.figures.theme import FATE_COLORS, color

BARS_UP_TO = 4  # cycles, below which areas would be slivers
LABELLED = 7  # of 100: a band as thick as that for a third of the axis has room for its name
# Color of a band -> whether words on it are as on a dark or on a light ground.
GROUNDS = {
    "new-above": "dark",
    "new-below": "light",
    "copy-own": "dark",
    "copy-seed": "light",
    "fails": "light",
}


@dataclass(frozen=True)
class BandLabel:
    """The name of a band in its middle; ground: whether the band is dark or light."""

    cycle: int
    at: float
    label: str
    fate: str
    ground: str


def draw_fates(title: str, shares: pl.DataFrame, runs: pl.DataFrame, last: int, says: str) -> Panel:
    """What becomes of 100 programs.

    shares: cycle, fate, `share` of 100. runs: cycle, chain, `good` of 100. last: the last cycle of
    the axis.
    """
    # Bands lie in the order of FATE_COLORS, which the name of a fate does not sort by.
    order = {fate: index for index, fate in enumerate(FATE_COLORS)}
    position = pl.col("fate").replace_strict(order)
    rows = shares.with_columns(order=position).sort("cycle", "order")
    x = _cycles(last)
    y = alt.Y(
        "share:Q",
        title="of 100 generated",
        scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(tickCount=5),
    )

    of_fates = [color(name) for name, _ in FATE_COLORS.values()]
    colors = alt.Scale(domain=list(FATE_COLORS), range=of_fates)
    fill = alt.Color("fate:N", scale=colors, legend=None)
    table = table_chart(rows)
    bands = table.encode(x=x, y=y, color=fill, order="order:Q")

    layers: list[alt.Chart] = []
    if shares["cycle"].n_unique() <= BARS_UP_TO:
        width = min(44, 200 / last)
        layers.append(bands.mark_bar(size=width))
    else:
        layers.append(bands.mark_area(stroke=CARD, strokeWidth=1))
        if runs["chain"].n_unique() > 1:
            lines = table_chart(runs).encode(x=x, y="good:Q", detail="chain:N")
            layers.append(lines.mark_line(color=INK, strokeWidth=0.8, opacity=0.7))
        layers += _names(_band_labels(rows, last), x, colors)

    # Altair would give bands and words one scale, and each the colours of both.
    chart = layered(layers, NARROW).resolve_scale(color="independent")
    return Panel(title, chart, says)


def _names(labels: list[BandLabel], x: alt.X, colors: alt.Scale) -> list[alt.Chart]:
    """Return the layers with the names of the bands."""
    if not labels:
        return []

    inks = [color("on-dark"), color("on-light")]
    over = alt.Scale(domain=["dark", "light"], range=inks)
    ink = alt.Color("ground:N", scale=over, legend=None)

    # The lines of the single runs do not strike the words.
    under = alt.Color("fate:N", scale=colors, legend=None)
    edge = alt.Stroke("fate:N", scale=colors, legend=None)

    words = record_chart(labels).encode(x=x, y="at:Q", text="label:N")
    halo = words.mark_text(fontSize=FONT_SIZE, align="center", strokeWidth=5, strokeJoin="round")
    text = words.mark_text(fontSize=FONT_SIZE, align="center")
    return [halo.encode(color=under, stroke=edge), text.encode(color=ink)]


def _band_labels(rows: pl.DataFrame, last: int) -> list[BandLabel]:
    """Return a label for each band with room for it over a third of the axis, where it has most."""
    so_far = pl.col("share").cum_sum()
    tops = rows.with_columns(top=so_far.over("cycle", order_by="order"))
    labels = []
    for fate, (name, words) in FATE_COLORS.items():
        band = tops.filter(fate=fate).sort("cycle").select("cycle", "share", "top")
        edges = {}
        for cycle, share, top in band.iter_rows():
            edges[cycle] = (top - share, top)
        cycle, middle, room = _widest(edges, last)
        if room >= LABELLED:
            label = BandLabel(cycle, middle, words, fate, GROUNDS[name])
            labels.append(label)

    return labels


def _widest(edges: dict[int, tuple[float, float]], last: int) -> tuple[int, float, float]:
    """Return the cycle with most room around it, the middle of that room, and the room.

    edges: cycle -> (low, high) of a band. Of two the earlier one; without any the room is 0.
    """
    half = max(1, round(last * 0.26))
    widest, middle, room = 0, 0.0, 0.0
    for cycle in range(1 + half, last - half + 1):
        near = range(cycle - half, cycle + half + 1)
        if not edges.keys() >= set(near):
            continue

        # A word is straight: it has room where no part of the band under it bends away.
        lows, highs = zip(*(edges[other] for other in near))
        low, high = max(lows), min(highs)
        if high - low > room:
            widest, middle, room = cycle, (low + high) / 2, high - low

    return widest, middle, room


def _cycles(planned: int) -> alt.X:
    """Return the axis of cycles; about a dozen are named, the first and the last among them."""
    step = 1
    if planned > 8:
        step = 5 * -(-planned // 60)
    named = {1, planned}

    for cycle in range(step, planned, step):
        if planned - cycle >= step / 3:
            named.add(cycle)

    values = sorted(named)
    axis = alt.Axis(values=values, grid=False, title="cycle")
    ends: list[float] = [1, planned]
    if planned <= BARS_UP_TO:
        ends = [0.4, planned + 0.6]
    scale = alt.Scale(domain=ends, nice=False)
    return alt.X("cycle:Q", axis=axis, scale=scale)
