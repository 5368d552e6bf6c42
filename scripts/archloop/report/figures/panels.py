"""Panels: what the five pictures are made of, small enough for a phone, with labels on the marks.

A panel is a title, a chart, and the sentence that a screen reader says; tables carry the numbers.
Groups of repeats stand side by side on shared axes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import altair as alt
import polars as pl

from archloop.report.figures.theme import color

WIDTH, HEIGHT = 285, 200
NARROW = 245  # four of which stand side by side on the first screen
BESIDE = 190  # what has its labels at its right
FONT_SIZE = 11
LABEL_HEIGHT = 13
# Of the light theme; a page has its own (theme.py).
INK, MUTED, CARD = color("ink"), color("muted"), color("card")


@dataclass(frozen=True)
class Panel:
    """One panel of a picture: its title, the chart, and what it shows in one sentence."""

    title: str
    chart: alt.TopLevelMixin
    says: str


@dataclass(frozen=True)
class EndLabel:
    """A label at the end of a line, at (x, y); `position` is where it is written, in units of y."""

    x: float
    y: float
    text: str
    position: float


def whole(panels: Sequence[Panel]) -> alt.TopLevelMixin:
    """Return a picture with all its panels as one chart, for a file."""
    if not panels:
        nothing = data_chart([{"text": "nothing to show yet"}]).mark_text(color=MUTED)
        message: alt.Chart = nothing.encode(text="text:N").properties(width=WIDTH, height=60)
        return message
    return alt.concat(*map(titled, panels), columns=3)


def titled(panel: Panel) -> Any:
    """Return the chart of a panel under its title."""
    chart: Any = panel.chart
    return chart.properties(title=panel.title)


def table_chart(rows: pl.DataFrame) -> alt.Chart:
    return data_chart(rows.to_dicts())


def data_chart(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.Data(values=list(rows)))


def end_labels(labels: Sequence[EndLabel], least: float) -> list[dict[str, Any]]:
    """Return labels as rows, in the order of their y and nowhere nearer than `least`."""
    placed: list[EndLabel] = []
    for label in sorted(labels, key=lambda label: label.y):
        if placed and label.y < placed[-1].position + least:
            label = replace(label, position=placed[-1].position + least)
        placed.append(label)

    return list(map(asdict, placed))
