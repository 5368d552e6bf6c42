"""The report: one page that stands alone, its pictures, and its numbers as a table."""

from pathlib import Path

import altair as alt
import jinja2
import polars as pl
import vl_convert

from archloop.funnel import OUTCOMES, VALID
from archloop.status import percent

TEMPLATE = Path(__file__).parents[2] / "report" / "index.html.j2"
# Failures in warm greys and reds, in the order of the funnel; what is valid in blue, what is admitted in green.
COLORS = dict(
    zip(
        OUTCOMES,
        ["#5b2333", "#7a2e3a", "#964049", "#ab5a5c", "#bd7672", "#cd928b", "#d9aca4", "#e3c5bd", "#ecdcd5", "#f2e9e4"]
        + ["#9db4d0", "#5f86b8", "#2e8b57"],
    )
)


def cycle_table(summaries: list[dict]) -> pl.DataFrame:
    """Return one row a cycle: chain, cycle, every outcome of the funnel, rates and accuracies (0 to 1)."""
    rows = []
    for summary in summaries:
        row = {key: summary[key] for key in ("chain", "cycle", "dataset", "candidates")} | summary["funnel"]
        for name in ("valid", "at_threshold", "yield"):
            row |= {f"{name}_{part}": summary[name][part] for part in ("count", "of", "share", "low", "high")}
        row |= {f"accuracy_{key}": value for key, value in summary["accuracy"].items()}
        rows.append(row | {"new_tokens": summary["new_tokens"]})
    return pl.DataFrame(rows, infer_schema_length=None).sort("chain", "cycle")


def funnel_chart(cycles: pl.DataFrame) -> alt.Chart:
    """Return the outcomes of each cycle as stacked bars, in the order of the funnel, a row a chain."""
    present = [name for name in OUTCOMES if cycles[name].sum()]
    long = cycles.unpivot(present, index=["chain", "cycle"], variable_name="outcome", value_name="count")
    order = {name: place for place, name in enumerate(present)}
    long = long.with_columns(pl.col("outcome").replace_strict(order).alias("order"))
    bars = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("cycle:O", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("count:Q", title="candidates"),
            color=alt.Color("outcome:N", scale=alt.Scale(domain=present, range=[COLORS[name] for name in present])),
            order=alt.Order("order:Q", sort="descending"),
        )
        .properties(width=480, height=260)
    )
    return bars.facet(row=alt.Row("chain:N", title=None))


def accuracy_chart(cycles: pl.DataFrame, candidates: pl.DataFrame) -> alt.Chart:
    """Return the validation accuracy of every valid candidate, with the mean of each cycle and its 95 % interval."""
    names = cycles["chain"].unique(maintain_order=True)
    valid = candidates.filter(pl.col("outcome").is_in(VALID)).select("chain", "cycle", "accuracy", "outcome")
    return alt.vconcat(
        *(
            _accuracy_of_chain(cycles.filter(pl.col("chain") == name), valid.filter(pl.col("chain") == name))
            for name in names
        )
    )


def _accuracy_of_chain(cycles: pl.DataFrame, valid: pl.DataFrame) -> alt.LayerChart:
    x = alt.X("cycle:O", axis=alt.Axis(labelAngle=0), scale=alt.Scale(domain=cycles["cycle"].to_list()))
    y = alt.Y("accuracy:Q", title="validation accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    colors = alt.Scale(domain=list(VALID), range=[COLORS[name] for name in VALID])
    points = (
        alt.Chart(valid).mark_circle(size=42, opacity=0.65).encode(x=x, y=y, color=alt.Color("outcome:N", scale=colors))
    )
    means = alt.Chart(cycles.filter(pl.col("accuracy_mean").is_not_null()).drop("accuracy_low", "accuracy_high"))
    line = means.mark_line(color="#222", point={"color": "#222"}).encode(x=x, y="accuracy_mean:Q")
    intervals = alt.Chart(cycles.filter(pl.col("accuracy_low").is_not_null()))
    whisker = intervals.mark_rule(color="#222", size=2).encode(x=x, y="accuracy_low:Q", y2="accuracy_high:Q")
    return alt.layer(points, whisker, line).properties(width=480, height=260, title=cycles["chain"][0])


def svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG text."""
    return vl_convert.vegalite_to_svg(chart.to_dict())


def page(title: str, cycles: pl.DataFrame, pictures: list[tuple[str, str, str]]) -> str:
    """Return the report as one HTML page. pictures: (heading, explanation, SVG)."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["percent"] = percent
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, cycles=cycles.to_dicts(), outcomes=OUTCOMES, pictures=pictures)
