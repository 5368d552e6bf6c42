"""The report: tables, pictures and one page that stands alone, from whatever a results folder holds."""

from pathlib import Path

import jinja2
import polars as pl

from archloop.files import replacing, write_bytes, write_text
from archloop.layout import PAGE
from archloop.progress import Progress
from archloop.report import wording
from archloop.report.figures import figures
from archloop.report.figures.panels import whole
from archloop.report.figures.theme import COLORS, DARK, for_page, png, svg
from archloop.report.page import contents
from archloop.report.page.gallery import DATA, Gallery, gallery, write_beside
from archloop.report.parts import FIGURES
from archloop.report.results import Results
from archloop.report.tables import paper, per_cycle, run_means
from archloop.report.tables.run_means import Compared

WORDS = ("percent", "per_100", "interval", "signed", "number", "p_value", "hours")


def write_report(results: Results, settings: dict, folder: Path) -> list[Path]:
    """Write index.html, where it is large data/parts-N.js, tables/NAME.csv and .parquet, figures/NAME.svg and .png.

    Returns them. Equal inputs give equal bytes.
    settings: section report.
    """
    tables, valid, compared = all_tables(results, settings)
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", table.write_csv())
        with (
            replacing(folder / "tables" / f"{name}.parquet") as temporary,
            open(temporary, "wb") as opened,
        ):
            table.write_parquet(opened, compression="zstd", statistics=False)
    drawn = figures.pictures(results, compared, tables, valid, settings)
    with Progress(len(FIGURES), "figure", "report") as progress:
        for name in FIGURES:
            picture = svg(whole(drawn[name].panels))
            write_text(folder / "figures" / f"{name}.svg", picture)
            write_bytes(folder / "figures" / f"{name}.png", png(picture))
            progress.step(note=name)
    designs = gallery(results, tables["architectures"])
    write_text(folder / "index.html", page(results, settings, tables, compared, drawn, designs))
    made = write_beside(designs.beside, folder / DATA)
    made += [folder / "tables" / f"{name}.{kind}" for name in tables for kind in ("csv", "parquet")]
    made += [folder / "figures" / f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")]
    return [folder / "index.html", *made]


def all_tables(
    results: Results, settings: dict
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame, Compared]:
    """Return (name -> table of the report, the valid candidates with their kinds, what is compared with what)."""
    valid = per_cycle.judged(results)
    cycles = per_cycle.cycles(results)
    fates = per_cycle.fates(results, valid)
    designs = per_cycle.architectures(results)
    compared = run_means.compared(results, fates, settings)
    return (
        {
            "cycles": cycles,
            "fates": fates,
            "contrasts": run_means.contrast_table(results, compared, fates, settings),
            "results": run_means.table(results, compared, fates, run_means.cells(valid)),
            "chains": run_means.chains(results, compared, fates, designs),
            "similarity": per_cycle.similarity(results, valid),
            "diversity": per_cycle.diversity(results),
            "architectures": designs,
            "failures": per_cycle.failures(results),
            "paper": paper.paper(results, cycles),
            "protocol": paper.protocol(results),
            "cost": per_cycle.cost(results),
        },
        valid,
        compared,
    )


def page(
    results: Results,
    settings: dict,
    tables: dict[str, pl.DataFrame],
    compared: Compared,
    drawn: dict,
    designs: Gallery,
) -> str:
    """Return the page. drawn: name -> picture. All but the pictures is escaped by the template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(wording, name) for name in WORDS}
    style, script = (
        "".join((PAGE / f"{part}.{kind}").read_text(encoding="utf-8") for part in parts)
        for kind, parts in (("css", ("page", "gallery")), ("js", ("page", "design", "gallery")))
    )
    captions = {
        name: (PAGE / "captions" / f"{name}.rst").read_text(encoding="utf-8").strip()
        for name in FIGURES
    }
    shown = {
        name: [(panel.title, for_page(svg(panel.chart), panel.says)) for panel in picture.panels]
        for name, picture in drawn.items()
    }
    return environment.get_template("page.html.j2").render(
        title=settings["title"],
        rows=settings["gallery_rows"],
        look=settings,
        style=style,
        script=script,
        colors=COLORS,
        dark=DARK,
        captions=captions,
        findings={name: picture.finding for name, picture in drawn.items()},
        pictures=shown,
        notes={name: picture.note for name, picture in drawn.items()},
        settings=results.settings,
        names=list(tables),
        admitted=tables["architectures"].height,
        gallery=designs,
        packed=designs.packed,
        **contents.facts(results, tables, compared),
    )
