"""Show how far a run is: chains, cycles, outcomes so far, jobs left, time left, its report."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.monitoring.live_page import write_page
from archloop.monitoring.status import settings_of, status
from archloop.settings.planned_files import plan
from archloop.workflow.cli import command, path_option


@command
@path_option("--results", "Folder of results.", required=False, default="results")
@path_option(
    "--logs",
    "Folder of logs, for the time left; default: `logs` beside the results.",
    required=False,
)
@path_option("--html", "Write the live page here too, e.g. results/live.html.", required=False)
@click.option(
    "--ended", is_flag=True, help="For the page: the run is over; Snakemake says so as it ends."
)
def main(results: Path, logs: Path | None, html: Path | None, ended: bool) -> None:
    """Print how many candidates reached each outcome per cycle, and what is left to do."""
    logs = results.parent / "logs" if logs is None else logs
    jobs = plan(results, settings_of(results))
    click.echo(status(results, logs, jobs))
    if html:
        write_page(results, logs, html, ended, jobs)


if __name__ == "__main__":
    main()
