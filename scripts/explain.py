"""Say of every job that failed in a run: where its log is, why it failed, and what to do."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.monitoring.explain import explain
from archloop.workflow.cli import command, path_option


@command
@path_option("--snakemake-log", "Snakemake's own log, under .snakemake/log/.")
def main(snakemake_log: Path) -> None:
    """Print cause, log and remedy of every failed job; nothing if none failed."""
    for line in explain(snakemake_log):
        click.echo(line)


if __name__ == "__main__":
    main()
