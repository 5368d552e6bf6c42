"""Colours and shapes that all figures share, and charts as SVG and PNG, for a page in two themes and for a file.

A colour has one name and one place: it is written into a chart as the light theme's value, and in the page each value
is replaced by the CSS variable of that name, so the page's style sheet decides. No two names may share a value.
"""

import altair as alt
import vl_convert

from archloop.funnel import NOT_VALID

# What can be told apart with every kind of colour vision: orange, violet, teal and blue of different lightness.
COLORS = {
    "ink": "#1f2328",
    "muted": "#667080",
    "grid": "#e4e7eb",
    "card": "#fefefe",
    "copy-seed": "#d9772b",
    "copy-own": "#9a86c7",
    "new-below": "#a9d5cf",
    "new-above": "#00796b",
    "below-threshold": "#a8d4ce",
    "near-copy": "#c58aa5",
    "admitted": "#00786a",
    "accent": "#2f62a8",
    "gold": "#c49a00",
    "fail": "#b4483c",
}
# The failures of the funnel from its first check to its last, and the chains where they share a picture.
FAILS = ["#4f5864", "#5f6874", "#6f7884", "#808994", "#919aa4", "#a2aab3", "#b2b9c1", "#c1c7ce", "#d0d5da", "#dde1e5"]
SERIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#777c85", "#a59a00"]
COLORS |= {f"fail-{place}": value for place, value in enumerate(FAILS)}
COLORS |= {f"series-{place}": value for place, value in enumerate(SERIES)}
OUTCOMES = {name: f"fail-{place}" for place, name in enumerate(NOT_VALID)}
OUTCOMES |= {"below_threshold": "below-threshold", "near_copy": "near-copy", "admitted": "admitted"}
# What the renderer puts before a link that is relative; the figures lie in a folder beside the page.
RENDERERS_BASE, PAGE = "https://vega.github.io/vega-datasets/", "../index.html"
FONT = "Helvetica, Arial, sans-serif"
PNG_SCALE = 2


def color(name: str) -> str:
    """Return the light theme's value of a colour's name."""
    return COLORS[name]


def scale(names: dict[str, str]) -> alt.Scale:
    """Return the colour scale of a nominal field. names: value of the field -> name of a colour."""
    return alt.Scale(domain=list(names), range=[COLORS[name] for name in names.values()])


def themed(chart: alt.TopLevelMixin) -> dict:
    """Return the Vega-Lite specification of a chart in the house style."""
    axis = {"labelColor": COLORS["muted"], "titleColor": COLORS["muted"], "gridColor": COLORS["grid"]}
    axis |= {"domainColor": COLORS["grid"], "tickColor": COLORS["grid"], "labelFontSize": 11, "titleFontSize": 11}
    axis |= {"labelFont": FONT, "titleFont": FONT, "titleFontWeight": "normal", "domain": False, "ticks": False}
    title = {"font": FONT, "fontSize": 12, "anchor": "start", "color": COLORS["ink"], "fontWeight": 600, "offset": 8}
    config = {"axis": axis | {"labelPadding": 5, "titlePadding": 8}, "axisX": {"grid": False}, "title": title}
    config |= {"background": COLORS["card"], "view": {"stroke": None}, "text": {"font": FONT}}
    return chart.to_dict() | {"config": config}


def legend(entries: list[tuple[str, str]], width: int) -> alt.LayerChart:
    """Return a legend as a chart of its own: a square and a label for each (name of a colour, label)."""
    rows, x, y = [], 0, 0
    for name, label in entries:
        wide = 28 + 6.2 * len(label)
        if x and x + wide > width:
            x, y = 0, y + 18
        rows.append({"x": x, "y": y, "label": label, "color": COLORS[name]})
        x += wide
    place = {"x": alt.X("x:Q", axis=None, scale=None), "y": alt.Y("y:Q", axis=None, scale=None)}
    base = alt.Chart(alt.Data(values=rows)).encode(**place)
    squares = base.mark_square(size=90, opacity=1, aria=False).encode(color=alt.Color("color:N", scale=None))
    texts = base.mark_text(align="left", dx=9, fontSize=11, color=COLORS["ink"]).encode(text="label:N")
    return (squares + texts).properties(width=width, height=y + 10)


def svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG, in the light theme."""
    return vl_convert.vegalite_to_svg(themed(chart)).replace(f'"{RENDERERS_BASE}#', f'"{PAGE}#')


def png(svg_text: str) -> bytes:
    """Return an SVG as PNG, at twice its size."""
    return vl_convert.svg_to_png(svg_text, scale=PNG_SCALE)


def for_page(svg_text: str) -> str:
    """Return an SVG whose colours are the CSS variables of the page and whose size is that of its place."""
    head, rest = svg_text.split(">", 1)
    size = head[head.index("viewBox=") :].rstrip("/")
    for name, value in COLORS.items():
        rest = rest.replace(f'"{value}"', f'"var(--{name})"')
    rest = rest.replace(f'"{PAGE}#', '"#')
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size}>{rest}'
