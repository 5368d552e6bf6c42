"""The picture of contrasts: the loop minus each control, every run as a point."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from archloop.report.contrasts import Contrast
from archloop.report.figures.panels import FONT_SIZE, WIDTH, Panel, data_chart
from archloop.report.figures.theme import color

ROW = 60
SPREAD = 0.09  # of a row, over which the runs of the loop stand one above another
Rows = list[dict[str, Any]]


def forest(title: str, rows: Sequence[tuple[str, Contrast]], unit: str, says: str) -> Panel:
    """The loop minus each control: every run, the mean, and the 95 % interval over runs.

    rows: (label, contrast), from the top down.
    """
    contrasts = [contrast for _, contrast in rows]
    low, high = _limits(contrasts)
    x_scale = alt.Scale(domain=[low, high], nice=False)
    x = alt.X("x:Q", scale=x_scale, title=unit, axis=alt.Axis(tickCount=5))
    y_scale = alt.Scale(domain=[-len(rows) + 0.6, 0.6], nice=False)
    y = alt.Y("y:Q", axis=None, scale=y_scale)

    loop_runs, control_runs = _runs(contrasts)

    means: Rows = []
    zeros: Rows = []
    for row, (_, contrast) in enumerate(rows):
        means.append({"y": -row, "x": contrast.difference})
        # No line through the figures over each row.
        zeros.append({"x": 0, "y": -row - 0.35, "y2": -row + 0.18})

    zero = data_chart(zeros).mark_rule(color=color("muted"), strokeWidth=1.5, opacity=0.6)
    ticks = data_chart(control_runs).mark_tick(color=color("muted"), orient="vertical", size=7)
    layers: list[Any] = [zero.encode(x=x, y=y, y2="y2:Q"), ticks.encode(x=x, y=y)]
    layers += _intervals(rows, x_scale, y)
    circles = data_chart(loop_runs).mark_point(
        color=color("ink"), filled=False, size=34, strokeWidth=1.2
    )
    middle = data_chart(means).mark_tick(
        color=color("ink"), orient="vertical", size=16, thickness=3
    )
    layers += [circles.encode(x=x, y=y), middle.encode(x=x, y=y)]
    layers += _texts(rows, y)
    chart = alt.layer(*layers).properties(width=WIDTH, height=ROW * len(rows))
    return Panel(title, chart, says)


def _relative(contrast: Contrast) -> tuple[list[float], list[float]]:
    """Return the runs of the loop and of the control, minus the control's mean."""
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

    room = 0.08 * (max(values) - min(values) or 1)
    return min(values) - room, max(values) + room


def _runs(contrasts: Sequence[Contrast]) -> tuple[Rows, Rows]:
    loop_runs: Rows = []
    control_runs: Rows = []
    for row, contrast in enumerate(contrasts):
        loop, control = _relative(contrast)
        # One above another, where they would hide one another.
        spread = SPREAD if len(loop) > 1 else 0.0
        for value, shift in zip(loop, np.linspace(spread, -spread, len(loop))):
            loop_runs.append({"y": float(shift) - row, "x": value})
        for value in control:
            control_runs.append({"y": -row - 0.22, "x": value})

    return loop_runs, control_runs


def _intervals(rows: Sequence[tuple[str, Contrast]], x_scale: alt.Scale, y: alt.Y) -> list[Any]:
    """Return the rules of the intervals; those of one run alone, over its cycles, are dashed."""
    solid: Rows = []
    dashed: Rows = []
    for row, (_, contrast) in enumerate(rows):
        if contrast.low is not None:
            span = {"y": -row, "low": contrast.low, "high": contrast.high}
            if contrast.method == "cycles":
                dashed.append(span)
            else:
                solid.append(span)

    layers = []
    for spans, dash in ((solid, [1, 0]), (dashed, [3, 3])):
        if spans:
            rule = data_chart(spans).mark_rule(color=color("ink"), strokeWidth=2, strokeDash=dash)
            layers.append(rule.encode(x=alt.X("low:Q", scale=x_scale), x2="high:Q", y=y))

    return layers


def _texts(rows: Sequence[tuple[str, Contrast]], y: alt.Y) -> list[Any]:
    """Return the two lines over each row: which control it is, and the contrast in figures."""
    texts = []
    for row, (label, contrast) in enumerate(rows):
        texts.append({"y": -row, "label": label, "number": said(contrast)})

    layers = []
    for field, up, shade in (("label", -30, "ink"), ("number", -16, "muted")):
        text = data_chart(texts).mark_text(
            align="left", fontSize=FONT_SIZE, dy=up, color=color(shade)
        )
        layers.append(text.encode(x=alt.value(0), y=y, text=f"{field}:N"))

    return layers


def said(contrast: Contrast) -> str:
    """Return a contrast in figures: the difference, its interval, Holm's p, of how many runs."""
    text = f"{contrast.difference:+.1f}"
    if contrast.low is not None:
        text += f" [{contrast.low:.1f}, {contrast.high:.1f}]"
    if contrast.p is not None:
        text += " · p < 0.001" if contrast.p < 0.001 else f" · p {contrast.p:.3f}"
    text += " · one run" if contrast.runs == 1 else f" · {contrast.runs} runs"
    return text.replace("-", "−")
