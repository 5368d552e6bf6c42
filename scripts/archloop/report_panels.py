"""The panels of the report's figures: each draws one chain from the tables, small enough for a phone."""

from collections.abc import Callable
from urllib.parse import quote

import altair as alt
import numpy as np
import polars as pl

from archloop.funnel import NOT_VALID, OUTCOMES
from archloop.report_theme import OUTCOMES as OUTCOME_COLORS
from archloop.report_theme import SERIES, color, scale

WIDTH, HEIGHT = 360, 210
DRAWN_ONE_BY_ONE = 400  # designs of a chain; more are drawn as a cloud of counts
GRID_POINTS = 81

KIND_COLORS = {"new_above": "new-above", "new_below": "new-below", "copy_own": "copy-own", "copy_seed": "copy-seed"}
KIND_WORDS = {
    "new_above": "new, at or above the threshold",
    "new_below": "new, below the threshold",
    "copy_own": "copy of an own design",
    "copy_seed": "copy of the seed corpus",
}
SOURCE_COLORS = {"seed": "copy-seed", "own": "copy-own"}
SOURCE_WORDS = {"seed": "nearest is of the seed corpus", "own": "nearest is an own design"}
RATE_COLORS = {"valid": "accent", "at_threshold": "gold", "yield": "admitted"}
RATE_WORDS = {
    "valid": "valid, of all generated",
    "at_threshold": "at or above the threshold, of the valid",
    "yield": "admitted, of all generated (yield)",
}
STAGE_COLORS = {"finetune": "copy-own", "evaluate": "new-above", "generate": "accent"}
MEASURES = {
    "accuracy_mean": "mean accuracy of the valid",
    "new_above": "new and at the threshold, of the valid",
    "valid_share": "valid, of all generated",
    "yield_share": "admitted, of all generated",
}

Tables = dict[str, pl.DataFrame]


def originality(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    rows = tables["originality"].filter(pl.col("of") > 0, chain=chain)
    if not rows.height:
        return None
    order = {kind: place for place, kind in enumerate(KIND_COLORS)}
    rows = _saying(
        rows.with_columns(pl.col("kind").replace_strict(order).alias("order")),
        lambda row: f"cycle {row['cycle']}: {_rate(row)} of the valid: {KIND_WORDS[row['kind']]}",
    )
    bars = _chart(rows).mark_bar(size=_bar(tables, chain))
    bars = bars.encode(
        x=_cycles(tables, chain),
        y=alt.Y("share:Q", title="share of the valid candidates", axis=_percent(), scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("kind:N", scale=scale(KIND_COLORS), legend=None),
        order=alt.Order("order:Q"),
        description="says:N",
    )
    totals = rows.unique("cycle", maintain_order=True).filter(pl.col("cycle").is_in(_ticks(_planned(tables, chain))))
    labels = _chart(totals).mark_text(dy=-6, baseline="bottom", fontSize=9, color=color("muted"), aria=False)
    return bars + labels.encode(x=_cycles(tables, chain), y=alt.datum(1), text="of:Q")


def similarity(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    rows = tables["similarity"].filter(pl.col("n") > 0, pl.col("source") != "all", chain=chain)
    if not rows.height:
        return None
    rows = _saying(
        rows,
        lambda row: (
            f"cycle {row['cycle']}: {row['n']} of {row['of']} valid, {SOURCE_WORDS[row['source']]},"
            f" median similarity {row['median']:.2f}, middle half {row['q25']:.2f} to {row['q75']:.2f}"
        ),
    )
    axis = alt.Scale(domain=[0, 1])
    shared = {"x": _cycles(tables, chain), "color": alt.Color("source:N", scale=scale(SOURCE_COLORS), legend=None)}
    base = _chart(rows).encode(**shared)
    low, high = alt.Y("q25:Q", scale=axis, title="similarity to the nearest"), alt.Y2("q75:Q")
    few = _planned(tables, chain) <= 8
    band = base.mark_rule(size=3, opacity=0.45, aria=False) if few else base.mark_area(opacity=0.2, aria=False)
    line = base.mark_line(aria=False).encode(y=alt.Y("median:Q", scale=axis))
    dots = base.mark_circle(opacity=1).encode(
        y=alt.Y("median:Q", scale=axis), description="says:N", size=alt.Size("n:Q", legend=None, scale=_dots(rows["n"]))
    )
    gate = alt.Chart(alt.Data(values=[{}])).mark_rule(color=color("ink"), strokeDash=[4, 3], aria=False)
    copies = tables["chains"].row(by_predicate=pl.col("chain") == chain, named=True)["copy_from"]
    return band.encode(y=low, y2=high) + line + dots + gate.encode(y=alt.datum(copies))


def funnel(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    present = [name for name in OUTCOMES if tables["cycles"][name].sum()]
    own = tables["cycles"].filter(chain=chain)
    rows = own.unpivot(present, index=["cycle", "candidates"], variable_name="outcome", value_name="count")
    rows = rows.filter(pl.col("count") > 0)
    if not rows.height:
        return None
    # What is admitted stands on the axis, where counts can be compared.
    order = {name: -place for place, name in enumerate(OUTCOMES)}
    rows = _saying(
        rows.with_columns(pl.col("outcome").replace_strict(order).alias("order")),
        lambda row: f"cycle {row['cycle']}: {row['count']} of {row['candidates']} {row['outcome'].replace('_', ' ')}",
    )
    bars = _chart(rows).mark_bar(size=_bar(tables, chain), stroke=color("card"), strokeWidth=0.5)
    return bars.encode(
        x=_cycles(tables, chain),
        y=alt.Y("count:Q", title="candidates"),
        color=alt.Color("outcome:N", scale=scale(OUTCOME_COLORS), legend=None),
        order=alt.Order("order:Q"),
        description="says:N",
    )


def rates(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    parts = [
        tables["cycles"]
        .filter(chain=chain)
        .select("cycle", pl.lit(name).alias("rate"), pl.col(f"^{name}_(count|of|share|low|high)$").name.map(_last))
        for name in RATE_COLORS
    ]
    rows = pl.concat(parts).filter(pl.col("of") > 0)
    rows = _saying(rows, lambda row: f"cycle {row['cycle']}: {_rate(row)} {RATE_WORDS[row['rate']]}")
    colors = alt.Color("rate:N", scale=scale(RATE_COLORS), legend=None)
    return _line(rows, _cycles(tables, chain), "share", "rate", colors, alt.Scale(domain=[0, 1]))


def accuracy(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    rows = tables["cycles"].filter(pl.col("accuracy_n") > 0, chain=chain)
    if not rows.height:
        return None
    rows = rows.select("cycle", "threshold", pl.col("^accuracy_.*$").name.map(_last))

    def says(row: dict) -> str:
        interval = f" [{row['low']:.1%}, {row['high']:.1%}]" if row["low"] is not None else ""
        facts = f"mean {row['mean']:.1%}{interval}, median {row['median']:.1%}, best {row['best']:.1%}"
        return f"cycle {row['cycle']}: {facts}, {row['n']} valid"

    rows = _saying(rows, says)
    x, domain = _cycles(tables, chain), alt.Scale(domain=[0, 1])
    base = _chart(rows).encode(x=x, description="says:N")
    value = alt.Y("mean:Q", title="validation accuracy", axis=_percent(), scale=domain)
    band = _chart(rows.drop_nulls("low")).encode(x=x, y="low:Q", y2="high:Q")
    layers = [
        band.mark_rule(size=3, opacity=0.45, color=color("accent"), aria=False),
        base.mark_line(color=color("accent"), aria=False).encode(y=value),
        base.mark_circle(color=color("accent"), opacity=1, size=42).encode(y=value),
        base.mark_tick(color=color("ink"), thickness=1.5, width=9, aria=False).encode(y="median:Q"),
        base.mark_point(shape="triangle-up", color=color("new-above"), filled=True, size=45).encode(y="best:Q"),
        base.mark_line(color=color("muted"), strokeDash=[4, 3], aria=False).encode(y="threshold:Q"),
    ]
    return alt.layer(*layers)


def distribution(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    """Ridges: the estimated density of the accuracy of each cycle, the first on top; ticks where there are few."""
    values = tables["valid"].filter(chain=chain).select("cycle", "accuracy", "threshold")
    if not values.height:
        return None
    rows, ticks, medians = [], [], []
    grid = np.linspace(0, 1, GRID_POINTS)
    groups = {cycle: group["accuracy"].to_numpy() for (cycle,), group in values.group_by("cycle", maintain_order=True)}
    densities = {cycle: _density(own, grid) for cycle, own in groups.items() if len(own) >= 5}
    tallest = max((density.max() for density in densities.values()), default=1)
    for cycle, own in groups.items():
        says = f"cycle {cycle}: {len(own)} valid, median accuracy {np.median(own):.1%}"
        medians.append({"base": -cycle, "value": float(np.median(own)), "says": says})
        if cycle not in densities or len(groups) <= 4:
            ticks += [{"base": -cycle, "value": float(value)} for value in own]
        if cycle in densities:
            tops = -cycle + 1.7 * densities[cycle] / tallest
            points = zip(grid.tolist(), tops.tolist())
            seen = [(value, top) for value, top in points if top > 0.01 - cycle]
            rows += [{"cycle": cycle, "base": -cycle, "value": value, "top": top} for value, top in seen]
    last = _planned(tables, chain)
    axis = alt.Axis(values=[-cycle for cycle in _ticks(last)], labelExpr="-datum.value", grid=False, title="cycle")
    y = {"scale": alt.Scale(domain=[-last - 0.3, 0.9]), "axis": axis}
    x = alt.X("value:Q", title="validation accuracy", axis=_percent(), scale=alt.Scale(domain=[0, 1]))
    ridges = alt.Chart(alt.Data(values=rows)).mark_area(
        color=color("new-below"), stroke=color("new-above"), strokeWidth=1, opacity=0.85, aria=False
    )
    ridges = ridges.encode(x=x, y=alt.Y("top:Q", **y), y2="base:Q", detail="cycle:O", order="cycle:Q")
    marks = alt.Chart(alt.Data(values=ticks)).mark_tick(
        orient="vertical", size=10, opacity=0.7, color=color("ink"), aria=False
    )
    middle = alt.Chart(alt.Data(values=medians)).mark_circle(size=26, opacity=1, color=color("ink"))
    line = alt.Chart(alt.Data(values=[{}])).mark_rule(color=color("muted"), strokeDash=[4, 3], aria=False)
    line = line.encode(x=alt.datum(values["threshold"][-1]))
    layers = [line, *([ridges] if rows else [])]
    layers += [marks.encode(x=x, y=alt.Y("base:Q", **y))] if ticks else []
    chart = alt.layer(*layers, middle.encode(x=x, y=alt.Y("base:Q", **y), description="says:N"))
    return chart.properties(height=max(HEIGHT, 14 * last + 40))


def diversity(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    rows = tables["diversity"].filter(pl.col("admitted") > 1, chain=chain)
    rows = rows.with_columns(pl.col("effective") / pl.col("admitted"))
    rows = rows.unpivot(["mean_distance", "effective"], index=["cycle", "admitted"], variable_name="measure")
    words = {"mean_distance": "mean distance between two", "effective": "effective number of designs over the admitted"}
    rows = _saying(
        rows.drop_nulls("value"),
        lambda row: f"cycle {row['cycle']}: {words[row['measure']]} {row['value']:.2f}, {row['admitted']} admitted",
    )
    colors = {"mean_distance": "accent", "effective": "gold"}
    colors = alt.Color("measure:N", scale=scale(colors), legend=None)
    return _line(rows, _cycles(tables, chain), "value", "measure", colors, alt.Scale(domain=[0, 1]), percent=False)


def corpus(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    rows = tables["corpus"].filter(chain=chain).with_columns(own=pl.col("total") - pl.col("seed"))
    rows = rows.unpivot(["seed", "own"], index="cycle", variable_name="source", value_name="count")
    words = {"seed": "of the seed corpus", "own": "own designs"}
    rows = _saying(rows, lambda row: f"after cycle {row['cycle']}: {row['count']} {words[row['source']]}")
    bars = _chart(rows).mark_bar(size=_bar(tables, chain))
    return bars.encode(
        x=_cycles(tables, chain, first=0),
        y=alt.Y("count:Q", title="programs"),
        color=alt.Color("source:N", scale=scale(SOURCE_COLORS), legend=None),
        order=alt.Order("source:N", sort="descending"),
        description="says:N",
    )


def pareto(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    """Every admitted design, or a cloud of counts where they are many; those that nothing dominates one by one."""
    rows = tables["architectures"].filter(pl.col("parameters") > 0, chain=chain)
    if not rows.height:
        return None
    rows = _saying(
        rows.with_columns(link=pl.Series([f"#design={quote(name)}" for name in rows["id"]])),
        lambda row: f"{row['id']}: {row['accuracy']:.1%} with {row['parameters']:,} parameters, cycle {row['cycle']}",
    ).select("says", "link", "accuracy", "parameters", "pareto")
    x = alt.X("parameters:Q", scale=alt.Scale(type="log", nice=False, padding=12), title="parameters (logarithmic)")
    x.axis = alt.Axis(format="~s", tickCount=5, grid=False)
    y = alt.Y("accuracy:Q", title="validation accuracy", axis=_percent(), scale=alt.Scale(zero=False, padding=12))
    front = rows.filter("pareto").sort("parameters")
    if rows.height > DRAWN_ONE_BY_ONE:
        # A twentieth of a decade by 2 % of accuracy: what a reader can tell apart on a panel of this size.
        spot = [(pl.col("parameters").log10() * 20).round() / 20, (pl.col("accuracy") * 50).round() / 50]
        cloud = rows.group_by(spot[0].alias("decades"), spot[1]).len("count").sort("decades", "accuracy")
        cloud = cloud.with_columns(parameters=10 ** pl.col("decades"))
        area = alt.Size("count:Q", legend=None, scale=alt.Scale(range=[6, 90]))
        others = _chart(cloud).mark_circle(color=color("accent"), opacity=0.35, aria=False).encode(x=x, y=y, size=area)
    else:
        others = _chart(rows).mark_circle(color=color("accent"), opacity=0.45, size=30)
        others = others.encode(x=x, y=y, description="says:N", href="link:N")
    steps = _chart(front).mark_line(color=color("copy-seed"), interpolate="step-after", aria=False).encode(x=x, y=y)
    best = _chart(front).mark_circle(color=color("copy-seed"), opacity=1, size=55)
    return others + steps + best.encode(x=x, y=y, description="says:N", href="link:N")


def failures(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    own = tables["cycles"].filter(chain=chain)
    present = [name for name in NOT_VALID if own[name].sum()]
    if not present:
        return None
    rows = own.unpivot(present, index=["cycle", "candidates"], variable_name="outcome", value_name="count")
    rows = rows.with_columns(
        share=pl.col("count") / pl.col("candidates"), outcome=pl.col("outcome").str.replace("_", " ")
    )
    rows = _saying(
        rows,
        lambda row: (
            f"cycle {row['cycle']}: {row['count']} of {row['candidates']} ({row['share']:.1%}) {row['outcome']}"
        ),
    )
    shade = alt.Opacity("share:Q", legend=None, scale=alt.Scale(domain=[0, max(rows["share"])], range=[0.02, 1]))
    order = [name.replace("_", " ") for name in present]
    cells = _chart(rows).mark_rect(color=color("fail"), stroke=color("card"), strokeWidth=1.5)
    y = alt.Y("outcome:N", sort=order, title=None, axis=alt.Axis(minExtent=84))
    cells = cells.encode(x=_cycles(tables, chain, band=True), y=y, opacity=shade, description="says:N")
    return cells.properties(height=max(60, 26 * len(order)))


def cost(tables: Tables, chain: str) -> alt.TopLevelMixin | None:
    rows = tables["cost"].filter(pl.col("seconds") > 0, chain=chain)
    if not rows.height:
        return None
    rows = _saying(
        rows.select("cycle", "stage", minutes=pl.col("seconds") / 60),
        lambda row: f"cycle {row['cycle']}: {row['stage']} {row['minutes']:.1f} min",
    )
    bars = _chart(rows).mark_bar(size=_bar(tables, chain))
    return bars.encode(
        x=_cycles(tables, chain),
        y=alt.Y("minutes:Q", title="minutes of jobs"),
        color=alt.Color("stage:N", scale=scale(STAGE_COLORS), legend=None),
        order=alt.Order("stage:N", sort="descending"),
        description="says:N",
    )


def side_by_side(tables: Tables, measure: str) -> alt.TopLevelMixin | None:
    """One measure of all chains over the cycles. Repeats of a chain share its colour."""
    if measure == "new_above":
        rows = tables["originality"].filter(pl.col("of") > 0, kind="new_above").with_columns(value="share")
    else:
        rows = tables["cycles"].with_columns(value=measure)
    rows = rows.drop_nulls("value").select("chain", "cycle", "value")
    if not rows.height:
        return None
    rows = _saying(rows, lambda row: f"{row['chain']}, cycle {row['cycle']}: {row['value']:.1%}")
    last = max(tables["chains"]["planned"])
    x = alt.X("cycle:O", axis=_cycle_axis(last), scale=alt.Scale(domain=list(range(1, last + 1))))
    colors = alt.Color("chain:N", scale=scale(series(tables)), legend=None)
    return _line(rows, x, "value", "chain", colors, alt.Scale(domain=[0, 1]))


def series(tables: Tables) -> dict[str, str]:
    """Return the colour's name of each chain; repeats share one, and after the eighth the colours start again."""
    groups = tables["chains"].select("chain", "group").rows()
    return {chain: f"series-{group % len(SERIES)}" for chain, group in groups}


def _line(rows, x, value, group, colors, domain, percent=True):
    """Lines with dots, one a group, with their intervals where the rows have low and high. None without rows."""
    if not rows.height:
        return None
    base = _chart(rows).encode(x=x, color=colors, detail=f"{group}:N")
    y = alt.Y(f"{value}:Q", title=None, scale=domain, axis=_percent() if percent else alt.Axis())
    dots = base.mark_circle(opacity=1, size=26).encode(y=y, description="says:N")
    layers = [base.mark_line(aria=False, strokeWidth=1.6).encode(y=y), dots]
    if "low" in rows.columns:
        layers.insert(0, base.mark_rule(opacity=0.35, size=2, aria=False).encode(y="low:Q", y2="high:Q"))
    return alt.layer(*layers)


def _chart(rows: pl.DataFrame) -> alt.Chart:
    return alt.Chart(alt.Data(values=rows.to_dicts()))


def _saying(rows: pl.DataFrame, words: Callable[[dict], str]) -> pl.DataFrame:
    """Return the rows with what a screen reader and a tooltip say of each."""
    return rows.with_columns(pl.Series("says", [words(row) for row in rows.to_dicts()], dtype=pl.String))


def _rate(row: dict) -> str:
    return f"{row['count']} of {row['of']} ({row['share']:.1%} [{row['low']:.1%}, {row['high']:.1%}])"


def _planned(tables: Tables, chain: str) -> int:
    return tables["chains"].row(by_predicate=pl.col("chain") == chain, named=True)["planned"]


def _bar(tables: Tables, chain: str) -> float:
    return min(44.0, 0.82 * WIDTH / (_planned(tables, chain) + 1))


def _cycles(tables: Tables, chain: str, first: int = 1, band: bool = False) -> alt.X:
    last = _planned(tables, chain)
    domain = list(range(first, last + 1))
    space = alt.Scale(domain=domain, type="band") if band else alt.Scale(domain=domain, type="point", padding=0.6)
    return alt.X("cycle:O", axis=_cycle_axis(last, first), scale=space)


def _cycle_axis(last: int, first: int = 1) -> alt.Axis:
    return alt.Axis(labelAngle=0, values=_ticks(last, first), title="cycle", grid=False)


def _ticks(last: int, first: int = 1) -> list[int]:
    """Return the cycles that are named on an axis: all where there is room, else every fifth or so, and both ends."""
    step = 1 if last <= 12 else 5 if last <= 60 else 5 * -(-last // 60)
    inner = [cycle for cycle in range(first, last) if cycle % step == 0 and last - cycle >= step / 3]
    return sorted({first, *inner, last})


def _percent() -> alt.Axis:
    return alt.Axis(format=".0%", tickCount=5)


def _dots(counts: pl.Series) -> alt.Scale:
    return alt.Scale(domain=[0, max(counts)], range=[12, 70])


def _last(name: str) -> str:
    return name.rsplit("_", 1)[1]


def _density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return a Gaussian kernel estimate of the density at the points of a grid; Silverman's width, at least 0.01."""
    quartiles = np.subtract(*np.quantile(values, (0.75, 0.25))) / 1.34
    spread = min(filter(None, (float(np.std(values, ddof=1)), float(quartiles))), default=0.0)
    width = max(0.01, 0.9 * spread * len(values) ** -0.2)
    return np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).sum(axis=1) / (len(values) * width)
