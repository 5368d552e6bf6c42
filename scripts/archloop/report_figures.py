"""The figures of the report: which panels each has, what its colours mean, and the whole of it for a file."""

from collections.abc import Callable
from dataclasses import dataclass

import altair as alt

from archloop import report_panels as draw
from archloop.funnel import OUTCOMES
from archloop.report_panels import Tables
from archloop.report_theme import OUTCOMES as OUTCOME_COLORS
from archloop.report_theme import color, legend

COLUMNS = 3  # panels side by side in the files


@dataclass(frozen=True)
class Figure:
    """How to draw the panel of a chain (None when there is nothing to draw), and what the colours mean."""

    panel: Callable[[Tables, str], alt.TopLevelMixin | None]
    key: Callable[[Tables], list[tuple[str, str]]]


def _fixed(*entries: tuple[str, str]) -> Callable[[Tables], list[tuple[str, str]]]:
    return lambda tables: list(entries)


def _paired(colors: dict[str, str], words: dict[str, str]) -> Callable[[Tables], list[tuple[str, str]]]:
    return _fixed(*((colors[name], words[name]) for name in colors))


def _series_key(tables: Tables) -> list[tuple[str, str]]:
    together = sorted(draw.series(tables).items(), key=lambda item: int(item[1].rpartition("-")[2]))
    return [(name, chain) for chain, name in together]


def _outcome_key(tables: Tables) -> list[tuple[str, str]]:
    present = [name for name in reversed(OUTCOMES) if tables["cycles"][name].sum()]
    return [(OUTCOME_COLORS[name], name.replace("_", " ")) for name in present]


DRAWN = {
    "originality": Figure(draw.originality, _paired(draw.KIND_COLORS, draw.KIND_WORDS)),
    "similarity": Figure(draw.similarity, _paired(draw.SOURCE_COLORS, draw.SOURCE_WORDS)),
    "distribution": Figure(draw.distribution, _fixed(("new-above", "density of the valid"), ("ink", "median"))),
    "accuracy": Figure(
        draw.accuracy,
        _fixed(("accent", "mean, 95 % interval"), ("ink", "median"), ("new-above", "best"), ("muted", "threshold")),
    ),
    "funnel": Figure(draw.funnel, _outcome_key),
    "rates": Figure(draw.rates, _paired(draw.RATE_COLORS, draw.RATE_WORDS)),
    "diversity": Figure(draw.diversity, _fixed(("accent", "mean distance of two"), ("gold", "effective share"))),
    "corpus": Figure(draw.corpus, _fixed(("copy-seed", "seed corpus"), ("copy-own", "own designs"))),
    "pareto": Figure(draw.pareto, _fixed(("accent", "admitted"), ("copy-seed", "Pareto front"))),
    "failures": Figure(draw.failures, _fixed(("fail", "share of the candidates, the stronger the more"))),
    "side_by_side": Figure(draw.side_by_side, _series_key),
    "cost": Figure(draw.cost, _fixed(*((draw.STAGE_COLORS[stage], stage) for stage in reversed(draw.STAGE_COLORS)))),
}


def panels(name: str, tables: Tables) -> list[tuple[str, alt.TopLevelMixin]]:
    """Return (title, chart) of every panel of a figure that has something to show."""
    if name == "side_by_side":
        wanted = draw.MEASURES
    else:
        wanted = {
            chain: f"{chain} · {dataset}" for chain, dataset in tables["chains"].select("chain", "dataset").rows()
        }
    drawn = [(title, DRAWN[name].panel(tables, key)) for key, title in wanted.items()]
    return [(title, _sized(chart)) for title, chart in drawn if chart is not None]


def whole(name: str, tables: Tables) -> alt.TopLevelMixin:
    """Return a figure with all its panels and its legend, as one chart for a file."""
    drawn = [chart.properties(title=title) for title, chart in panels(name, tables)]
    if not drawn:
        nothing = alt.Chart(alt.Data(values=[{"text": "nothing to show yet"}]))
        return nothing.mark_text(color=color("muted")).encode(text="text:N").properties(width=draw.WIDTH, height=60)
    columns = 2 if len(drawn) == 4 else COLUMNS
    key = legend(DRAWN[name].key(tables), min(len(drawn), columns) * (draw.WIDTH + 60))
    return alt.vconcat(key, alt.concat(*drawn, columns=columns), spacing=14)


def _sized(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    height = chart.height if chart.height is not alt.Undefined else draw.HEIGHT
    return chart.properties(width=draw.WIDTH, height=height)
