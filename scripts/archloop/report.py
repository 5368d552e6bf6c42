"""The report: tables, figures and one page that stands alone, from whatever a results folder holds."""

from pathlib import Path

import jinja2
import polars as pl

from archloop import report_compare, report_results, report_tables, report_words
from archloop.files import replacing, write_bytes, write_text
from archloop.funnel import OUTCOMES
from archloop.progress import Progress
from archloop.report_figures import DRAWN, panels, whole
from archloop.report_gallery import gallery
from archloop.report_input import Results
from archloop.report_panels import series
from archloop.report_parts import FIGURES
from archloop.report_theme import COLORS, for_page, png, svg
from archloop.texts import visible

FOLDER = Path(__file__).parents[2] / "report"
REASONS_SHOWN, EXAMPLES_SHOWN, EXAMPLE_LINES = 12, 4, 80


def write_report(results: Results, settings: dict, folder: Path) -> list[Path]:
    """Write index.html, tables/NAME.csv and .parquet, figures/NAME.svg and .png; return them.

    Equal inputs give equal bytes.
    settings: section report.
    """
    tables, valid = all_tables(results, settings["resamples"])
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.write_csv())
        with replacing(folder / "tables" / f"{name}.parquet") as temporary, open(temporary, "wb") as opened:
            table.write_parquet(opened, compression="zstd", statistics=False)
    drawn = tables | {"valid": valid}
    pictures = {}
    with Progress(len(FIGURES), "figure", "report") as progress:
        for name in FIGURES:
            picture = svg(whole(name, drawn))
            write_text(folder / "figures" / f"{name}.svg", picture)
            write_bytes(folder / "figures" / f"{name}.png", png(picture))
            pictures[name] = [(title, for_page(svg(chart))) for title, chart in panels(name, drawn)]
            progress.step(note=name)
    write_text(folder / "index.html", page(results, settings, tables, pictures))
    made = [folder / "tables" / f"{name}.{kind}" for name in tables for kind in ("csv", "parquet")]
    made += [folder / "figures" / f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")]
    return [folder / "index.html", *made]


def all_tables(results: Results, resamples: int) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Return (name -> table of the report, the valid candidates with their kinds). resamples: of each bootstrap."""
    valid = report_tables.judged(results)
    cycles = report_tables.cycles(results)
    kinds = report_tables.originality(results, valid)
    shift = report_tables.shift(results, valid, resamples)
    designs = report_tables.architectures(results)
    return {
        "cycles": cycles,
        "originality": kinds,
        "similarity": report_tables.similarity(results, valid),
        "shift": report_compare.with_noise(shift, results),
        "diversity": report_tables.diversity(results),
        "corpus": report_tables.corpus(results),
        "architectures": designs,
        "failures": report_tables.failures(results),
        "chains": report_compare.chains(results, cycles, kinds, designs),
        "comparison": report_compare.comparison(results, cycles, valid, resamples),
        "results": report_results.table(results, cycles, valid),
        "paper": report_compare.paper(results, cycles),
        "protocol": report_compare.protocol(results),
        "cost": report_tables.cost(results),
    }, valid


def page(results: Results, settings: dict, tables: dict[str, pl.DataFrame], pictures: dict) -> str:
    """Return the page. pictures: figure -> (title of a panel, its SVG). All else is escaped by the template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = ("percent", "interval", "signed", "points", "number", "p_value")
    environment.filters |= {name: getattr(report_words, name) for name in words}
    style, script = (
        "".join((FOLDER / f"{part}.{kind}").read_text(encoding="utf-8") for part in ("page", "gallery"))
        for kind in ("css", "js")
    )
    template = environment.get_template("page.html.j2")
    captions = {name: (FOLDER / "captions" / f"{name}.rst").read_text(encoding="utf-8").strip() for name in FIGURES}
    return template.render(
        title=settings["title"],
        rows=settings["gallery_rows"],
        style=style,
        script=script,
        colors=COLORS,
        figures=FIGURES,
        keys={name: figure.key(tables) for name, figure in DRAWN.items()},
        captions=captions,
        pictures=pictures,
        chains=_chains(results, tables),
        everything={name: table.to_dicts() for name, table in tables.items() if name != "architectures"},
        comparable=any(facts["dataset"] == "cifar10" for facts in results.chains.values()),
        series=series(tables),
        measures=report_words.MEASURES,
        versions=_versions(results),
        settings=results.settings,
        admitted=tables["architectures"].height,
        names=list(tables),
        packed=gallery(results, tables["architectures"]),
    )


def _chains(results: Results, tables: dict[str, pl.DataFrame]) -> list[dict]:
    """Return what the page shows chain by chain, one after another, as plain rows."""
    found = []
    for facts in tables["chains"].to_dicts():
        name = facts["chain"]
        own = {key: table.filter(chain=name).to_dicts() for key, table in tables.items() if "chain" in table.columns}
        cycles = tables["cycles"].filter(chain=name)
        lines = cycles.join(
            _kinds_wide(tables["originality"]), on=["chain", "cycle"], how="left", maintain_order="left"
        )
        nearest = tables["similarity"].filter(source="all").select("chain", "cycle", similarity="median")
        lines = lines.join(nearest, on=["chain", "cycle"], how="left", maintain_order="left")
        totals = tables["corpus"].select("chain", "cycle", "total")
        lines = lines.join(totals, on=["chain", "cycle"], how="left", maintain_order="left")
        found.append(
            facts
            | {"cycles": lines.to_dicts(), "outcomes": [outcome for outcome in OUTCOMES if cycles[outcome].sum()]}
            | {"verdict": report_words.verdict(tables["shift"], name), "shift": own["shift"]}
            | {"paper": report_words.paper_rows(tables["paper"], name)}
            | {"protocol": sorted(own["protocol"], key=lambda row: (row["differs"] is not True, row["item"]))}
            | {"failures": _examples(results, own["failures"][:REASONS_SHOWN]), "reasons": len(own["failures"])}
            | {"cost": _costs(tables["cost"], name)}
        )
    return found


def _kinds_wide(originality: pl.DataFrame) -> pl.DataFrame:
    wanted = [
        originality.filter(kind=kind).select("chain", "cycle", pl.col("share").alias(kind))
        for kind in report_tables.KINDS
    ]
    joined = wanted[0]
    for other in wanted[1:]:
        joined = joined.join(other, on=["chain", "cycle"], how="left", maintain_order="left")
    return joined


def _examples(results: Results, failures: list[dict]) -> list[dict]:
    """Return the reasons, the first few with the program of their example, cut to a length."""
    wanted = {row["example_id"] for row in failures[:EXAMPLES_SHOWN]}
    found = results.candidates.filter(pl.col("id").is_in(wanted)).select("id", "program")
    programs = dict(found.iter_rows())
    rows = []
    for row in failures:
        lines = visible(programs.get(row["example_id"]) or "").splitlines()
        cut = [*lines[:EXAMPLE_LINES], f"... {len(lines) - EXAMPLE_LINES} more lines"]
        rows.append(row | {"program": "\n".join(lines if len(lines) <= EXAMPLE_LINES else cut)})
    return rows


def _costs(cost: pl.DataFrame, chain: str) -> list[dict]:
    """Return the totals of a chain by stage."""
    summed = ("jobs", "seconds", "gpu_seconds", "tokens", "evaluations", "reused")
    said = [pl.col(name).drop_nulls().unique().sort().str.join(", ").alias(name) for name in ("isolation", "device")]
    totals = cost.filter(chain=chain).group_by("stage", maintain_order=True).agg(pl.col(summed).sum(), *said)
    return totals.to_dicts()


def _versions(results: Results) -> list[tuple[str, str]]:
    """Return (name, version) of what the jobs said they ran with; two versions of one thing give two rows."""
    found = set()
    for run in results.runs:
        versions = run.get("versions")
        found |= {(str(name), str(value)) for name, value in versions.items()} if isinstance(versions, dict) else set()
    return sorted(found)
