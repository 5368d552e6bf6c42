"""Panels: what the figures are made of, small enough for a phone, with labels on the marks.

A panel is a title, a chart, and the sentence that a screen reader says; tables carry the numbers.
Groups of repeats stand side by side on shared axes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from archloop.report.figures.theme import color

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WIDTH, HEIGHT = 285, 200
NARROW = 245  # four of which stand side by side on the first screen
BESIDE = 190  # what has its labels at its right
FONT_SIZE = 11
LABEL_HEIGHT = 13
# Of the light theme; a page has its own (theme.py).
INK = color("ink")
MUTED = color("muted")
CARD = color("card")


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: its title, the chart, and what it shows in one sentence."""

    title: str
    chart: alt.LayerChart
    says: str


@dataclass(frozen=True)
class EndLabel:
    """A label at the end of a line, at (x, y); `position` is where it is written, in units of y."""

    x: float
    y: float
    text: str
    position: float


def whole(panels: Sequence[Panel]) -> alt.TopLevelMixin:
    """Return a figure with all its panels as one chart, for a file."""
    if not panels:
        data = data_chart([{"text": "nothing to show yet"}])
        words = data.mark_text(color=MUTED).encode(text="text:N")
        message: alt.Chart = words.properties(width=WIDTH, height=60)
        return message
    return alt.concat(*map(titled, panels), columns=3)


def titled(panel: Panel) -> alt.LayerChart:
    """Return the chart of a panel under its title."""
    return panel.chart.properties(title=panel.title)


def layered(layers: Sequence[alt.Chart], width: int, height: int = HEIGHT) -> alt.LayerChart:
    """Return layers one over another, the last on top, in a panel of that size."""
    chart: alt.LayerChart = alt.LayerChart(layer=layers)
    return chart.properties(width=width, height=height)


def table_chart(rows: pl.DataFrame) -> alt.Chart:
    """Return a chart without a mark yet, of the rows of a table."""
    return data_chart(rows.to_dicts())


def record_chart(records: "Sequence[DataclassInstance]") -> alt.Chart:
    """Return a chart without a mark yet, of dataclasses: their fields are its columns."""
    return data_chart([asdict(record) for record in records])


def data_chart(rows: Sequence[Mapping[str, object]]) -> alt.Chart:
    """Return a chart without a mark yet. rows: column -> value."""
    return alt.Chart(alt.Data(values=list(rows)))


def end_labels(labels: Sequence[EndLabel], least: float) -> list[EndLabel]:
    """Return labels in the order of their y, written nowhere nearer than `least`."""
    placed: list[EndLabel] = []
    lowest = -math.inf
    for label in sorted(labels, key=lambda label: label.y):
        position = max(label.position, lowest)
        placed.append(replace(label, position=position))
        lowest = position + least

    return placed
