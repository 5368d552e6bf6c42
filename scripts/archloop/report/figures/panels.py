"""The five pictures: groups of repeats side by side on shared axes, small enough for a phone, labels on the marks.

Each picture is a list of panels (title, chart, the sentence that a screen reader says); tables carry the numbers.
"""

from dataclasses import dataclass
from urllib.parse import quote

import altair as alt
import numpy as np
import polars as pl

from archloop.report.contrasts import Contrast
from archloop.report.figures.theme import FATES, color

WIDTH, HEIGHT = 285, 200
NARROW = 245  # four of which stand side by side on the first screen
BESIDE = 190  # what has its labels at its right
BARS_UP_TO = 4  # cycles, below which areas would be slivers
LABELLED = 7  # of 100: a band as thick as that for a third of the axis has room for its name
ROW = 60
DASHES = {"loop": [1, 0], "frozen": [2, 3], "fixed": [8, 3], "random": [5, 3], "seed": [1, 2]}
SIZES = [1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7]
MOST_NUMBERED = 12


@dataclass(frozen=True)
class Panel:
    """One panel of a picture: its title, the chart, and what it shows in one sentence."""

    title: str
    chart: alt.TopLevelMixin
    says: str


def fates(title: str, shares: pl.DataFrame, runs: pl.DataFrame, last: int, says: str) -> Panel:
    """What becomes of 100 programs. shares: cycle, fate, `share` of 100. runs: cycle, chain, `good` of 100.

    last: the last cycle of the axis.
    """
    order = {name: place for place, name in enumerate(FATES)}
    rows = shares.with_columns(order=pl.col("fate").replace_strict(order)).sort("cycle", "order")
    x = _cycles(last)
    scale = alt.Scale(domain=list(FATES), range=[color(name) for name, _ in FATES.values()])
    y = alt.Y(
        "share:Q",
        title="of 100 generated",
        scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(tickCount=5),
    )
    base = _chart(rows).encode(
        x=x, y=y, color=alt.Color("fate:N", scale=scale, legend=None), order="order:Q"
    )
    few = shares["cycle"].n_unique() <= BARS_UP_TO
    body = (
        base.mark_bar(size=min(44, 200 / last))
        if few
        else base.mark_area(stroke=color("card"), strokeWidth=1)
    )
    layers = [body]
    if runs["chain"].n_unique() > 1 and not few:
        line = _chart(runs).mark_line(color=color("ink"), strokeWidth=0.8, opacity=0.7)
        layers.append(line.encode(x=x, y="good:Q", detail="chain:N"))
    labels = [] if few else _band_labels(rows, last)
    if labels:
        text = alt.Chart(alt.Data(values=labels)).mark_text(fontSize=11, align="center")
        fill = alt.Color(
            "ground:N", scale=alt.Scale(domain=["dark", "light"], range=_over()), legend=None
        )
        under = alt.Color("fate:N", scale=scale, legend=None)
        # The lines of the single runs do not strike the words.
        halo = alt.Chart(alt.Data(values=labels)).mark_text(
            fontSize=11, align="center", strokeWidth=5, strokeJoin="round"
        )
        edge = alt.Stroke("fate:N", scale=scale, legend=None)
        layers.append(halo.encode(x=x, y="at:Q", text="label:N", color=under, stroke=edge))
        layers.append(text.encode(x=x, y="at:Q", text="label:N", color=fill))
    chart = alt.layer(*layers).resolve_scale(color="independent")
    return Panel(title, chart.properties(width=NARROW, height=HEIGHT), says)


def _over() -> list[str]:
    return [color("on-dark"), color("on-light")]


def _band_labels(rows: pl.DataFrame, last: int) -> list[dict]:
    """Return a label for each band that has room for it over a third of the axis, where it has most."""
    tops = rows.with_columns(top=pl.col("share").cum_sum().over("cycle", order_by="order"))
    half, found = max(1, round(last * 0.26)), []
    for fate, (name, label) in FATES.items():
        own = tops.filter(fate=fate).sort("cycle")
        ends = {
            cycle: (top - share, top)
            for cycle, share, top in own.select("cycle", "share", "top").iter_rows()
        }
        room = []
        for cycle in range(1 + half, last - half + 1):
            near = [ends[at] for at in range(cycle - half, cycle + half + 1) if at in ends]
            if len(near) == 2 * half + 1:
                low, high = max(low for low, _ in near), min(high for _, high in near)
                room.append((high - low, -cycle, (low + high) / 2))
        if room and max(room)[0] >= LABELLED:
            _, cycle, middle = max(room)
            ground = "dark" if name in ("new-above", "copy-own") else "light"
            found.append(
                {"cycle": -cycle, "at": middle, "label": label, "fate": fate, "ground": ground}
            )
    return found


def forest(title: str, rows: list[tuple[str, Contrast]], unit: str, says: str) -> Panel:
    """The loop minus each control: every run as a point, the mean, and the 95 % interval over runs."""
    marks, spans, ticks, texts, dashed = [], [], [], [], []
    ends = [0.0]
    for place, (label, each) in enumerate(rows):
        y, middle = -place, float(np.mean(each.control))
        texts.append({"y": y, "label": label, "number": said(each)})
        # One above another, where they would hide one another.
        shifts = np.linspace(0.09, -0.09, len(each.loop)) if len(each.loop) > 1 else [0.0]
        marks += [{"y": y + float(by), "x": value - middle} for value, by in zip(each.loop, shifts)]
        ticks += [{"y": y - 0.22, "x": value - middle} for value in each.control]
        ends += [value - middle for value in (*each.loop, *each.control)]
        if each.low is not None:
            ends += [each.low, each.high]
            (dashed if each.method == "cycles" else spans).append(
                {"y": y, "low": each.low, "high": each.high}
            )
    pad = 0.08 * (max(ends) - min(ends) or 1)
    x = alt.Scale(domain=[min(ends) - pad, max(ends) + pad], nice=False)
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-len(rows) + 0.6, 0.6], nice=False))
    place = alt.X("x:Q", scale=x, title=unit, axis=alt.Axis(tickCount=5))
    means = [{"y": -at, "x": each.difference} for at, (_, each) in enumerate(rows)]
    # No line through the figures over each row.
    zeros = [{"x": 0, "y": -at - 0.35, "y2": -at + 0.18} for at in range(len(rows))]
    zero = _data(zeros).mark_rule(color=color("muted"), strokeWidth=1.5, opacity=0.6)
    layers = [zero.encode(x=place, y=y, y2="y2:Q")]
    layers.append(
        _data(ticks).mark_tick(color=color("muted"), orient="vertical", size=7).encode(x=place, y=y)
    )
    for values, dash in ((spans, [1, 0]), (dashed, [3, 3])):
        if values:
            rule = _data(values).mark_rule(color=color("ink"), strokeWidth=2, strokeDash=dash)
            layers.append(rule.encode(x=alt.X("low:Q", scale=x), x2="high:Q", y=y))
    circles = _data(marks).mark_point(color=color("ink"), filled=False, size=34, strokeWidth=1.2)
    layers.append(circles.encode(x=place, y=y))
    middle = _data(means).mark_tick(color=color("ink"), orient="vertical", size=16, thickness=3)
    layers.append(middle.encode(x=place, y=y))
    for field, up, shade in (("label", -30, "ink"), ("number", -16, "muted")):
        text = _data(texts).mark_text(align="left", fontSize=11, dy=up, color=color(shade))
        layers.append(text.encode(x=alt.value(0), y=y, text=f"{field}:N"))
    return Panel(title, alt.layer(*layers).properties(width=WIDTH, height=ROW * len(rows)), says)


def said(each: Contrast) -> str:
    """Return a contrast in figures: the difference, its interval, Holm's p, of how many runs."""
    parts = f"{each.difference:+.1f}" + (
        "" if each.low is None else f" [{each.low:.1f}, {each.high:.1f}]"
    )
    if each.p is not None:
        parts += " · p < 0.001" if each.p < 0.001 else f" · p {each.p:.3f}"
    return f"{parts} · {'one run' if each.runs == 1 else f'{each.runs} runs'}".replace("-", "−")


def newer(title: str, points: pl.DataFrame, gate: float, noise: float | None, says: str) -> Panel:
    """Similarity to the nearest known program against the gain in accuracy over it. points: similarity, gain."""
    bins = points.with_columns(
        x=(pl.col("similarity") * 20).floor().clip(0, 19) / 20,
        y=(pl.col("gain") * 20).floor().clip(-10, 9) / 20,
    )
    counts = bins.group_by("x", "y").len("count").sort("x", "y")
    rows = counts.with_columns(share=100 * pl.col("count") / max(1, points.height))
    rows = rows.select(
        "share", x="x", x2=pl.col("x") + 0.05, y=100 * pl.col("y"), y2=100 * pl.col("y") + 5
    )
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
    shade = alt.Opacity(
        "share:Q", legend=None, scale=alt.Scale(domain=[0, 6], range=[0.06, 1], clamp=True)
    )
    layers = [
        _chart(rows)
        .mark_rect(color=color("muted"))
        .encode(x=across, x2="x2", y=up, y2="y2", opacity=shade)
    ]
    layers.append(_data([{"y": 0}]).mark_rule(color=color("ink")).encode(y=up))
    layers.append(
        _data([{"x": gate}]).mark_rule(color=color("ink"), strokeDash=[4, 3]).encode(x=across)
    )
    if noise:
        bar = _data([{"x": 0.015, "y": -100 * noise, "y2": 100 * noise}])
        layers.append(
            bar.mark_rule(color=color("ink"), strokeWidth=3).encode(x=across, y=up, y2="y2")
        )
    layers.append(_quadrants(points, gate, across, up))
    return Panel(title, alt.layer(*layers).properties(width=NARROW, height=HEIGHT), says)


def _quadrants(points: pl.DataFrame, gate: float, across: alt.X, up: alt.Y) -> alt.Chart:
    near, better, total = pl.col("similarity") >= gate, pl.col("gain") > 0, max(1, points.height)
    texts = []
    for where, x in ((~near, 0.05), (near, 1.01)):  # the right ones stand outside: there is no room
        for how, y in ((better, 44), (~better, -44)):
            share = 100 * points.filter(where & how).height / total
            texts.append({"x": x, "y": y, "text": f"{share:.0f} %"})
    marked = _data(texts).mark_text(align="left", fontSize=12, fontWeight=600, color=color("ink"))
    return marked.encode(x=across, y=up, text="text:N")


def effort(title: str, lines: pl.DataFrame, seed_best: float | None, says: str) -> Panel:
    """Best found so far. lines: role, label, chain (None for the mean over runs), programs, test (in per cent)."""
    low = min([*lines["test"].to_list(), *([seed_best] if seed_best else [])], default=0)
    high = max([*lines["test"].to_list(), *([seed_best] if seed_best else [])], default=100)
    y = alt.Y("test:Q", title="test accuracy of the best, %", axis=alt.Axis(tickCount=5))
    y.scale = alt.Scale(domain=[low - 2, high + 2], nice=False)
    x = alt.X(
        "programs:Q", title="programs generated by a run", axis=alt.Axis(tickCount=4, format=",d")
    )
    layers = []
    single = _chart(lines.filter(pl.col("chain").is_not_null()))
    layers.append(
        single.mark_line(color=color("muted"), strokeWidth=0.7, opacity=0.6).encode(
            x=x, y=y, detail="chain:N"
        )
    )
    ends = []
    for role in DASHES:
        own = lines.filter(pl.col("chain").is_null(), role=role).sort("programs")
        if own.height:
            mark = _chart(own).mark_line(color=color("ink"), strokeDash=DASHES[role])
            layers.append(
                mark.encode(x=x, y=y, strokeWidth=alt.value(2.6 if role == "loop" else 1.5))
            )
            text = f"{own['label'][-1]} {own['test'][-1]:.1f}"
            ends.append({"programs": own["programs"][-1], "test": own["test"][-1], "text": text})
    if seed_best:
        rule = _data([{"test": seed_best}]).mark_rule(color=color("ink"), strokeDash=DASHES["seed"])
        layers.append(rule.encode(y=y))
        ends.append(
            {
                "programs": lines["programs"].max() or 1,
                "test": seed_best,
                "text": f"best seed {seed_best:.1f}",
            }
        )
    text = _data(_apart(ends, "test", (high - low + 4) / HEIGHT * 13)).mark_text(
        align="left", fontSize=11, dx=6
    )
    layers.append(
        text.encode(
            x=alt.value(BESIDE), y=alt.Y("place:Q"), text="text:N", color=alt.value(color("ink"))
        )
    )
    return Panel(title, alt.layer(*layers).properties(width=BESIDE, height=HEIGHT), says)


def _apart(labels: list[dict], key: str, least: float) -> list[dict]:
    """Return the labels with a `place` each, in the order of their values and nowhere nearer than `least`."""
    placed: list[dict] = []
    for label in sorted(labels, key=lambda each: each[key]):
        place = label[key] if not placed else max(label[key], placed[-1]["place"] + least)
        placed.append(label | {"place": place})
    return placed


def sizes(title: str, cloud: pl.DataFrame, fronts: pl.DataFrame, says: str) -> Panel:
    """Size against test accuracy. cloud: parameters, test. fronts: role, label, id, parameters, test, number."""
    spots = cloud.filter(pl.col("parameters") > 0).with_columns(
        x=(pl.col("parameters").log10() * 12).floor() / 12, y=(pl.col("test") * 50).floor() / 50
    )
    bins = spots.group_by("x", "y").len("count").sort("x", "y")
    rows = bins.select(
        "count", x=10 ** pl.col("x"), x2=10 ** (pl.col("x") + 1 / 12), y=100 * pl.col("y")
    )
    rows = rows.with_columns(y2=pl.col("y") + 2)
    across = alt.X("x:Q", scale=alt.Scale(type="log", nice=False), title="parameters")
    across.axis = alt.Axis(format="~s", values=SIZES, grid=False)
    up = alt.Y(
        "y:Q",
        scale=alt.Scale(zero=False, nice=False),
        title="test accuracy, %",
        axis=alt.Axis(tickCount=5),
    )
    shade = alt.Opacity("count:Q", legend=None, scale=alt.Scale(type="log", range=[0.12, 0.6]))
    layers = [
        _chart(rows)
        .mark_rect(color=color("muted"))
        .encode(x=across, x2="x2", y=up, y2="y2", opacity=shade)
    ]
    ends = []
    for role in DASHES:
        own = (
            fronts.filter(role=role)
            .sort("parameters")
            .with_columns(x="parameters", y=100 * pl.col("test"))
        )
        if own.height:
            line = _chart(own).mark_line(color=color("ink"), strokeDash=DASHES[role])
            width = alt.value(2.4 if role == "loop" else 1.3)
            layers.append(line.encode(x=across, y=up, strokeWidth=width))
            ends.append({"x": own["x"][-1], "y": own["y"][-1], "text": own["label"][-1]})
    numbered = fronts.filter(pl.col("number").is_not_null())
    if numbered.height:
        links = pl.Series([f"#design={quote(name)}" for name in numbered["id"]])
        points = _chart(
            numbered.select("number", x="parameters", y=100 * pl.col("test"), link=links)
        )
        dot = points.mark_circle(color=color("ink"), size=190, opacity=1).encode(
            x=across, y=up, href="link:N"
        )
        number = points.mark_text(color=color("card"), fontSize=10, fontWeight=600)
        layers += [dot, number.encode(x=across, y=up, text="number:Q", href="link:N")]
    spread = 100 * (cloud["test"].max() - cloud["test"].min()) if cloud.height else 1.0
    text = _data(_apart(ends, "y", spread / HEIGHT * 13)).mark_text(align="left", dx=5, fontSize=11)
    layers.append(
        text.encode(x=across, y=alt.Y("place:Q"), text="text:N", color=alt.value(color("ink")))
    )
    return Panel(title, alt.layer(*layers).properties(width=WIDTH, height=HEIGHT), says)


def whole(panels: list[Panel]) -> alt.TopLevelMixin:
    """Return a picture with all its panels as one chart, for a file."""
    if not panels:
        nothing = _data([{"text": "nothing to show yet"}]).mark_text(color=color("muted"))
        return nothing.encode(text="text:N").properties(width=WIDTH, height=60)
    return alt.concat(*(panel.chart.properties(title=panel.title) for panel in panels), columns=3)


def _cycles(planned: int) -> alt.X:
    step = 1 if planned <= 8 else 5 if planned <= 60 else 5 * -(-planned // 60)
    inner = [
        cycle for cycle in range(1, planned) if cycle % step == 0 and planned - cycle >= step / 3
    ]
    axis = alt.Axis(values=sorted({1, *inner, planned}), grid=False, title="cycle")
    ends = [0.4, planned + 0.6] if planned <= BARS_UP_TO else [1, planned]
    return alt.X("cycle:Q", axis=axis, scale=alt.Scale(domain=ends, nice=False))


def _chart(rows: pl.DataFrame) -> alt.Chart:
    return _data(rows.to_dicts())


def _data(rows: list[dict]) -> alt.Chart:
    return alt.Chart(alt.Data(values=rows))
