"""The report: tables, figures and one page that stands alone, from whatever a folder holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import polars as pl

from archloop.files import replacing, write_bytes, write_text
from archloop.layout import PAGE
from archloop.progress import Progress
from archloop.quantities import percent
from archloop.report.figures.findings import Figure, figures
from archloop.report.figures.panels import Panel, whole
from archloop.report.figures.theme import COLORS, DARK, for_page, png, svg
from archloop.report.page.contents import contents
from archloop.report.page.gallery import DATA, Gallery, gallery, write_scripts
from archloop.report.parts import FIGURES
from archloop.report.results import Results
from archloop.report.tables import comparisons, paper, per_candidate, per_cycle, run_means
from archloop.report.tables.comparisons import Compared
from archloop.report.tables.typed_tables import TablesByName
from archloop.report.wording import hours, interval, number, p_value, per_100, signed
from archloop.settings.sections import Report

# How the templates write numbers: what they have as filters.
FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "per_100": per_100,
    "interval": interval,
    "signed": signed,
    "number": number,
    "p_value": p_value,
    "hours": hours,
}


@dataclass(frozen=True)
class Tables:
    """All tables by name (parts.TABLES), and what they were made of.

    valid: the valid candidates with their kinds. compared: what is compared with what.
    """

    by_name: TablesByName
    valid: pl.DataFrame
    compared: Compared


def write_report(results: Results, settings: Report, folder: Path) -> list[Path]:
    """Write the report and return its files; equal inputs give equal bytes.

    They are index.html, where it is large data/parts-N.js, tables/NAME.csv and .parquet,
    figures/NAME.svg and .png.
    """
    tables = all_tables(results, settings)
    _write_tables(tables.by_name, folder / "tables")
    drawn = figures(results, tables.compared, tables.by_name, tables.valid, settings)
    _write_figures(drawn, folder / "figures")
    designs = gallery(results, tables.by_name["architectures"])
    index = folder / "index.html"
    write_text(index, page(results, settings, tables, drawn, designs))

    written = [index, *write_scripts(designs.beside, folder / DATA)]
    for name in tables.by_name:
        path = folder / "tables" / name
        written += [path.with_suffix(".csv"), path.with_suffix(".parquet")]
    for name in FIGURES:
        path = folder / "figures" / name
        written += [path.with_suffix(".svg"), path.with_suffix(".png")]
    return written


def _write_tables(tables: TablesByName, folder: Path) -> None:
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.write_csv())
        path = folder / f"{name}.parquet"
        # Polars takes brackets in a name for a pattern, so it is handed an open file.
        with replacing(path) as temporary, open(temporary, "wb") as opened:
            table.write_parquet(opened, compression="zstd", statistics=False)


def _write_figures(drawn: dict[str, Figure], folder: Path) -> None:
    with Progress(len(FIGURES), "figure", "report") as progress:
        for name in FIGURES:
            image = svg(whole(drawn[name].panels))
            write_text(folder / f"{name}.svg", image)
            write_bytes(folder / f"{name}.png", png(image))
            progress.step(note=name)


def all_tables(results: Results, settings: Report) -> Tables:
    """Return the tables of the report."""
    valid = per_candidate.valid_candidates(results)
    cycles = per_cycle.cycles(results)
    fates = per_cycle.fates(results, valid)
    designs = per_candidate.architectures(results)
    compared = comparisons.compared(results, fates, settings)
    tables = {
        "cycles": cycles,
        "fates": fates,
        "contrasts": comparisons.contrast_table(results, compared, fates, settings),
        "results": run_means.mean_table(results, compared, fates, run_means.cells(valid)),
        "chains": run_means.chains(results, compared, fates, designs),
        "similarity": per_cycle.similarity(results, valid),
        "diversity": per_cycle.diversity(results),
        "architectures": designs,
        "failures": per_candidate.failure_reasons(results),
        "paper": paper.paper(results),
        "protocol": paper.protocol(results),
        "cost": per_cycle.cost(results),
    }

    return Tables(tables, valid, compared)


def page(
    results: Results,
    settings: Report,
    tables: Tables,
    drawn: dict[str, Figure],
    designs: Gallery,
) -> str:
    """Return the page. drawn: name -> figure. The template escapes all but the figures."""
    findings, notes, shown, captions = {}, {}, {}, {}
    for name, figure in drawn.items():
        findings[name] = figure.finding
        notes[name] = figure.note
        shown[name] = [(panel.title, _for_page(panel)) for panel in figure.panels]
    for name in FIGURES:
        captions[name] = _part(f"captions/{name}.rst").strip()

    return (
        templates()
        .get_template("page.html.j2")
        .render(
            title=settings.title,
            rows=settings.gallery_rows,
            look=settings,
            style=_part("page.css") + _part("gallery.css"),
            script=_part("page.js") + _part("design.js") + _part("gallery.js"),
            colors=COLORS,
            dark=DARK,
            captions=captions,
            findings=findings,
            figures=shown,
            notes=notes,
            settings=results.settings,
            names=list(tables.by_name),
            admitted=tables.by_name["architectures"].height,
            gallery=designs,
            packed=designs.packed,
            **vars(contents(results, tables.by_name, tables.compared)),
        )
    )


def templates() -> jinja2.Environment:
    """Return the templates of the page; a name that none of them is given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment


def _for_page(panel: Panel) -> str:
    return for_page(svg(panel.chart), panel.says)


def _part(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")
