"""Build the seed corpus from measured programs: each with its prompt, near-copies left out."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.candidate_rows import join, read_candidates_of_shards, read_evaluations
from archloop.corpus.tables import write_corpus
from archloop.data.dataset_file import read_metadata
from archloop.files import write_json
from archloop.generation.prompts import PromptTexts, read_hints, read_template, task_of
from archloop.seed_corpus.build_seed_corpus import build_seed_corpus
from archloop.workflow.cli import path_option, stage


@stage("output", "dropped", packages=("polars", "numpy", "datasketch", "jinja2"))
@path_option("--generated", "Programs, one file per shard.", multiple=True)
@path_option("--evaluated", "Their evaluations, one file per shard.", multiple=True)
@path_option("--dataset", "Prepared data set that they were measured on.")
@path_option("--template", "Template of the prompts.")
@path_option("--hints", "Design hints; a family has the one of its name.")
@click.option(
    "--parameter-budget", required=True, type=int, help="Parameters that the prompts allow."
)
@click.option("--epochs", required=True, type=int, help="Epochs that the prompts name.")
@path_option("--output", "corpus.parquet")
@path_option("--dropped", "What was left out and why.")
def main(
    generated: tuple[Path, ...],
    evaluated: tuple[Path, ...],
    dataset: Path,
    template: Path,
    hints: Path,
    parameter_budget: int,
    epochs: int,
    output: Path,
    dropped: Path,
) -> None:
    """Write the seed corpus and the list of what was left out."""
    metadata = read_metadata(dataset)
    corpus, left_out = build_seed_corpus(
        join(read_candidates_of_shards(generated, "family"), read_evaluations(evaluated)),
        metadata,
        PromptTexts(read_template(template), read_hints(hints)),
        task_of(metadata, epochs, parameter_budget),
    )
    write_json(dropped, left_out)
    write_corpus(corpus, output)


if __name__ == "__main__":
    main()
