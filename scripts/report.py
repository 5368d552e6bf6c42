"""Write the report of what a results folder holds: the page, its figures (SVG and PNG) and tables.

By hand it takes whatever there is, a run in progress too:
`python scripts/report.py --output results/partial`
"""

import json
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.errors import InputError
from archloop.report.report import write_report
from archloop.report.results import read_results, sources
from archloop.settings.sections import Report
from archloop.workflow.cli import path_option, settings_options, stage
from archloop.workflow.provenance import Extras


@stage(packages=("polars", "altair", "vl-convert-python", "jinja2"))
@settings_options(Report)
@path_option("--results", "Folder of results.", required=False, default="results")
@click.option(
    "--run",
    help="Complete settings as JSON; default: those of the last run in the folder.",
)
@path_option(
    "--output", "Folder that the report is written to.", required=False, default="results/report"
)
@click.option(
    "--whole",
    is_flag=True,
    help="Fail if cycles are missing (default: write a partial report).",
)
def main(results: Path, run: str | None, output: Path, whole: bool, settings: Report) -> Extras:
    """Write index.html, figures/ and tables/."""
    contents = read_results(results, json.loads(run) if run else None)
    if whole and not contents.finished:
        raise InputError(
            f"{results}: {contents.unfinished}; leave out --whole for a partial report"
        )
    return {"inputs": sources(contents), "outputs": write_report(contents, settings, output)}


if __name__ == "__main__":
    main()
