"""Give every candidate of a cycle its verdict and write the shard of the corpus that the cycle admits."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.admit import KNOWN_COLUMNS, admit
from archloop.corpus.candidates import join, read_candidates_of_shards, read_evaluations
from archloop.corpus.tables import read_candidates, read_corpus, write_candidates, write_corpus
from archloop.data.dataset_file import read_metadata
from archloop.layout import Cell
from archloop.novelty.repeats import COLUMNS
from archloop.settings.sections import Admission, Novelty
from archloop.workflow.cli import path_option, settings_options, stage


@stage("candidates_output", "corpus_output", packages=("polars", "numpy", "datasketch"))
@settings_options(Admission)
@settings_options(Novelty, "novelty")
@path_option("--generated", "Candidates, one file per shard.", multiple=True)
@path_option("--evaluated", "Their evaluations, one file per shard.", multiple=True)
@path_option(
    "--corpus",
    "Seed corpus, and corpus files of earlier cycles and of chains that it continues.",
    multiple=True,
)
@click.option(
    "--cycle",
    default=1,
    type=click.IntRange(min=1),
    help="Number of the cycle; earlier ones lie beside it.",
)
@path_option("--dataset", "Prepared data set; its name and chance level.")
@path_option("--candidates-output", "candidates.parquet")
@path_option("--corpus-output", "corpus.parquet")
def main(
    generated,
    evaluated,
    corpus,
    cycle,
    dataset,
    candidates_output,
    corpus_output,
    settings,
    novelty,
) -> None:
    """Decide the outcome of every candidate; write all of them, and the admitted ones as corpus file."""
    chain = candidates_output.parents[1]
    earlier = [
        Cell(chain.name, k).folder(chain.parent) / candidates_output.name for k in range(1, cycle)
    ]
    candidates, shard = admit(
        join(read_candidates_of_shards(generated), read_evaluations(evaluated)),
        read_corpus(corpus, KNOWN_COLUMNS),
        read_metadata(dataset),
        settings,
        novelty,
        read_candidates(earlier, COLUMNS),
    )
    write_candidates(candidates, candidates_output)
    write_corpus(shard, corpus_output)


if __name__ == "__main__":
    main()
