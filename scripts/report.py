"""Write the report: a page that stands alone, the pictures, and the numbers as a table."""

from pathlib import Path

import click

from archloop.cli import command, settings_options
from archloop.corpus import read_candidates
from archloop.files import read_json, write_text
from archloop.report import accuracy_chart, cycle_table, funnel_chart, page, svg

PATH = click.Path(path_type=Path)


@command
@settings_options("report")
@click.option("--summary", multiple=True, required=True, type=PATH, help="summary.json of every cycle.")
@click.option("--candidates", multiple=True, required=True, type=PATH, help="candidates.parquet of every cycle.")
@click.option("--page", "html", required=True, type=PATH, help="index.html")
@click.option("--funnel", required=True, type=PATH, help="Picture of the funnel, SVG.")
@click.option("--accuracy", required=True, type=PATH, help="Picture of the accuracy, SVG.")
@click.option("--table", required=True, type=PATH, help="The cycles as CSV.")
def main(summary, candidates, html, funnel, accuracy, table, settings) -> None:
    """Write page, pictures and table."""
    cycles = cycle_table([read_json(path) for path in summary])
    pictures = {
        funnel: svg(funnel_chart(cycles)),
        accuracy: svg(accuracy_chart(cycles, read_candidates(candidates))),
    }
    for path, picture in pictures.items():
        write_text(path, picture)
    write_text(table, cycles.write_csv())
    shown = [
        ("The funnel", "What became of every candidate, cycle by cycle.", pictures[funnel]),
        ("Accuracy", "Every valid candidate, the mean of each cycle and its 95 % interval.", pictures[accuracy]),
    ]
    write_text(html, page(settings["title"], cycles, shown))


if __name__ == "__main__":
    main()
