"""The figure of contrasts: the loop minus each control, every run as a point."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from archloop.report.contrasts import Contrast
from archloop.report.figures.panels import (
    FONT_SIZE,
    INK,
    MUTED,
    WIDTH,
    Panel,
    layered,
    record_chart,
)
from archloop.report.figures.theme import color
from archloop.report.wording import p_value

ROW = 60
SPREAD = 0.09  # of a row, over which the runs of the loop stand one above another
# How far from the middle of its row a thing is drawn, in rows.
CONTROL_RUNS = -0.22
ZERO_FROM, ZERO_TO = -0.35, 0.18  # no line through the numbers over each row
SOLID, DASHED = [1, 0], [3, 3]


@dataclass(frozen=True)
class Mark:
    """A run, or the mean of runs: x in what is compared, y in rows."""

    x: float
    y: float


@dataclass(frozen=True)
class Span:
    """A rule from one end to the other: across for an interval, up for the zero of a row."""

    x: float
    y: float
    x2: float
    y2: float


@dataclass(frozen=True)
class RowText:
    """The two lines over a row."""

    y: float
    label: str
    number: str


def draw_forest(title: str, rows: Sequence[tuple[str, Contrast]], unit: str, says: str) -> Panel:
    """The loop minus each control: every run, the mean, and the 95 % interval over runs.

    rows: (label, contrast), from the top down.
    """
    contrasts = [contrast for _, contrast in rows]
    low, high = _limits(contrasts)
    x_scale = alt.Scale(domain=[low, high], nice=False)
    x_axis = alt.Axis(tickCount=5)
    x = alt.X("x:Q", scale=x_scale, title=unit, axis=x_axis)
    y_scale = alt.Scale(domain=[0.6 - len(rows), 0.6], nice=False)
    y = alt.Y("y:Q", axis=None, scale=y_scale)

    # Rows lie at 0, -1, -2 ...: an axis that counts up puts the first one on top.
    loop_runs, control_runs = _runs(contrasts)
    means = []
    zeros = []
    for row, contrast in enumerate(contrasts):
        means.append(Mark(contrast.difference, -row))
        zeros.append(Span(0, ZERO_FROM - row, 0, ZERO_TO - row))

    zero = record_chart(zeros).mark_rule(color=MUTED, strokeWidth=1.5, opacity=0.6)
    ticks = record_chart(control_runs).mark_tick(color=MUTED, orient="vertical", size=7)
    circles = record_chart(loop_runs).mark_point(color=INK, filled=False, size=34, strokeWidth=1.2)
    middle = record_chart(means).mark_tick(color=INK, orient="vertical", size=16, thickness=3)

    layers: list[alt.Chart] = [
        zero.encode(x=x, y=y, y2="y2:Q"),
        ticks.encode(x=x, y=y),
        *_intervals(contrasts, x_scale, y),
        circles.encode(x=x, y=y),
        middle.encode(x=x, y=y),
        *_texts(rows, y),
    ]
    return Panel(title, layered(layers, WIDTH, ROW * len(rows)), says)


def _relative(contrast: Contrast) -> tuple[list[float], list[float]]:
    """Return the runs of the loop and of the control, minus the control's mean."""
    # So that 0 is "as many as the control" in every row, and the loop's mean is the difference.
    middle = float(np.mean(contrast.control))
    loop = [value - middle for value in contrast.loop]
    control = [value - middle for value in contrast.control]
    return loop, control


def _limits(contrasts: Sequence[Contrast]) -> tuple[float, float]:
    """Return the ends of the axis, with some room beside all that is drawn."""
    values = [0.0]
    for contrast in contrasts:
        loop, control = _relative(contrast)
        values += [*loop, *control]
        if contrast.low is not None and contrast.high is not None:
            values += [contrast.low, contrast.high]

    lowest, highest = min(values), max(values)
    room = 0.08 * (highest - lowest or 1)
    return lowest - room, highest + room


def _runs(contrasts: Sequence[Contrast]) -> tuple[list[Mark], list[Mark]]:
    """Return the runs of the loop, and those of the controls."""
    loop_runs = []
    control_runs = []
    for row, contrast in enumerate(contrasts):
        loop, control = _relative(contrast)
        # One above another, where they would hide one another.
        spread = SPREAD if len(loop) > 1 else 0.0
        shifts = np.linspace(spread, -spread, len(loop)).tolist()
        for value, shift in zip(loop, shifts):
            loop_runs.append(Mark(value, shift - row))
        for value in control:
            control_runs.append(Mark(value, CONTROL_RUNS - row))

    return loop_runs, control_runs


def _intervals(contrasts: Sequence[Contrast], x_scale: alt.Scale, y: alt.Y) -> list[alt.Chart]:
    """Return the rules of the intervals; those of one run alone, over its cycles, are dashed."""
    solid = []
    dashed = []
    for row, contrast in enumerate(contrasts):
        if contrast.low is not None and contrast.high is not None:
            span = Span(contrast.low, -row, contrast.high, -row)
            if contrast.method == "cycles":
                dashed.append(span)
            else:
                solid.append(span)

    x = alt.X("x:Q", scale=x_scale)
    layers = []
    for spans, dash in ((solid, SOLID), (dashed, DASHED)):
        if spans:
            rule = record_chart(spans).mark_rule(color=INK, strokeWidth=2, strokeDash=dash)
            layers.append(rule.encode(x=x, x2="x2:Q", y=y))

    return layers


def _texts(rows: Sequence[tuple[str, Contrast]], y: alt.Y) -> list[alt.Chart]:
    """Return the two lines over each row: which control it is, and the contrast in numbers."""
    texts = []
    for row, (label, contrast) in enumerate(rows):
        texts.append(RowText(-row, label, in_numbers(contrast)))

    left = alt.value(0)
    layers = []
    for field, up, shade in (("label", -30, "ink"), ("number", -16, "muted")):
        text = record_chart(texts).mark_text(
            align="left", fontSize=FONT_SIZE, dy=up, color=color(shade)
        )
        layers.append(text.encode(x=left, y=y, text=f"{field}:N"))

    return layers


def in_numbers(contrast: Contrast) -> str:
    """Return a contrast in numbers: the difference, its interval, Holm's p, of how many runs."""
    parts = [f"{contrast.difference:+.1f}"]
    if contrast.low is not None:
        parts.append(f" [{contrast.low:.1f}, {contrast.high:.1f}]")
    if contrast.p is not None:
        parts.append(f" · p {p_value(contrast.p)}")
    runs = "one run" if contrast.runs == 1 else f"{contrast.runs} runs"
    parts.append(f" · {runs}")
    return "".join(parts).replace("-", "−")
