"""Sum up one cycle: funnel, rates with their denominators, accuracy."""

from pathlib import Path

import click

from archloop.cli import command
from archloop.corpus import read_candidates
from archloop.files import read_json, write_json
from archloop.summarize import summarize

PATH = click.Path(path_type=Path)


@command
@click.option("--candidates", required=True, type=PATH, help="candidates.parquet of the cycle.")
@click.option("--training", required=True, type=PATH, help="training.json of the cycle's adapter.")
@click.option("--threshold", required=True, type=float, help="Accuracy that the share at or above is counted with.")
@click.option("--output", required=True, type=PATH, help="summary.json")
def main(candidates, training, threshold, output) -> None:
    """Write the summary of a cycle."""
    write_json(output, summarize(read_candidates([candidates]), read_json(training), threshold))


if __name__ == "__main__":
    main()
