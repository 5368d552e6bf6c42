"""Colours and shapes that all figures share, and charts as SVG and PNG, for page and file.

A colour has one name and one home: it is written into a chart as the light theme's value, and in
the page, which has two themes, each value is replaced by the CSS variable of that name, so its
style sheet decides. No two names may share a value. Colour stands for the fate of a program and for
nothing else; all other marks are ink, of some weight.
"""

import html
import re

import altair as alt
import vl_convert

# Of different lightness, a sixth of the way from black to white apart, so that they stay apart in
# grey print.
FATE_COLORS = {
    "new_good": ("new-above", "new and good enough"),
    "new_below": ("new-below", "new, too weak"),
    "copy_own": ("copy-own", "copy of an own design"),
    "copy_seed": ("copy-seed", "copy of a seed program"),
    "fails": ("fails", "does not run"),
}
COLORS = {
    "ink": "#1f2328",
    "muted": "#5d6775",
    "grid": "#dfe3e8",
    "card": "#fefefe",
    "new-above": "#00463d",
    "new-below": "#81ccbf",
    "copy-own": "#7951b1",
    "copy-seed": "#db7624",
    "fails": "#e3e6e9",
    "on-dark": "#fffffe",
    "on-light": "#14181d",
    "accent": "#2f62a8",
}
# The dark theme: lightest is what matters most there, too.
DARK = {
    "ink": "#e6e9ec",
    "muted": "#9aa5b1",
    "grid": "#2c353f",
    "card": "#171c22",
    "new-above": "#99e5db",
    "new-below": "#286359",
    "copy-own": "#b59fd4",
    "copy-seed": "#b8631e",
    "fails": "#353c44",
    "on-dark": "#0c1014",
    "on-light": "#f4f6f8",
    "accent": "#74a5e8",
}
# What the renderer puts before a link that is relative; the figures lie in a folder beside the
# page.
RENDERERS_BASE, PAGE = "https://vega.github.io/vega-datasets/", "../index.html"
FONT = "Helvetica, Arial, sans-serif"
PNG_SCALE = 2


def color(name: str) -> str:
    """Return the light theme's value of a colour's name."""
    return COLORS[name]


def themed(chart: alt.TopLevelMixin) -> dict[str, object]:
    """Return the Vega-Lite specification of a chart in the house style."""
    axis = {
        "labelColor": COLORS["muted"],
        "titleColor": COLORS["muted"],
        "gridColor": COLORS["grid"],
        "domainColor": COLORS["grid"],
        "tickColor": COLORS["grid"],
        "labelFontSize": 11,
        "titleFontSize": 11,
        "labelFont": FONT,
        "titleFont": FONT,
        "titleFontWeight": "normal",
        "domain": False,
        "ticks": False,
        "labelPadding": 5,
        "titlePadding": 8,
        "aria": False,
    }

    title = {
        "font": FONT,
        "fontSize": 12,
        "anchor": "start",
        "color": COLORS["ink"],
        "fontWeight": 600,
        "offset": 8,
    }

    config = {
        "axis": axis,
        "axisX": {"grid": False},
        "background": COLORS["card"],
        "view": {"stroke": None},
        "text": {"font": FONT},
        "title": title,
        "mark": {"aria": False},
    }

    return chart.to_dict() | {"config": config}


def svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG, in the light theme."""
    drawn = vl_convert.vegalite_to_svg(themed(chart))
    return drawn.replace(f'"{RENDERERS_BASE}#', f'"{PAGE}#')


def png(svg_text: str) -> bytes:
    """Return an SVG as PNG, at twice its size."""
    return vl_convert.svg_to_png(svg_text, scale=PNG_SCALE)


def for_page(svg_text: str, says: str) -> str:
    """Return an SVG as one figure with one sentence, in the colours of the page.

    It has its own size on any screen. Marks are nothing that a screen reader or the Tab key stops
    at.
    """
    head, rest = svg_text.split(">", 1)
    size = " ".join(re.findall(r'\b(?:width|height|viewBox)="[^"]*"', head))
    for name, value in COLORS.items():
        rest = rest.replace(f'"{value}"', f'"var(--{name})"')
    # The renderer gives every mark a role and a label, which would be read out one by one.
    rest = re.sub(r' (?:role|aria-[a-z]+|class|pointer-events)="[^"]*"', "", rest)
    rest = rest.replace(f'"{PAGE}#', '"#').replace("<a ", '<a tabindex="-1" ')
    label = html.escape(says, quote=True)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} role="img" aria-label="{label}" {size}>{rest}'
