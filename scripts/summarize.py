"""Sum up one cycle: funnel, rates with their denominators, accuracy."""

from pathlib import Path

import click

from archloop.admit import accuracy_threshold
from archloop.cli import settings_options, stage
from archloop.corpus import read_candidates
from archloop.datasets import read_facts
from archloop.files import read_json, write_json
from archloop.summarize import summarize

PATH = click.Path(path_type=Path)


@stage("output", packages=("polars",))
@settings_options("admission")
@click.option("--candidates", required=True, type=PATH, help="candidates.parquet of the cycle.")
@click.option("--training", required=True, type=PATH, help="training.json of the cycle's adapter.")
@click.option("--dataset", required=True, type=PATH, help="Prepared data set; its chance level.")
@click.option("--output", required=True, type=PATH, help="summary.json")
def main(candidates, training, dataset, output, settings) -> None:
    """Write the summary of a cycle."""
    threshold = accuracy_threshold(settings, read_facts(dataset)["chance"])
    write_json(output, summarize(read_candidates([candidates]), read_json(training), threshold))


if __name__ == "__main__":
    main()
