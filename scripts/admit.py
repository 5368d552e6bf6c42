"""Give every candidate of a cycle its verdict, and write the corpus that the cycle adds."""

import sys
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.admit import CycleFiles, admit_cycle
from archloop.corpus.tables import write_candidates, write_corpus
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
    candidates_output: Path,
    corpus_output: Path,
    settings: Admission,
    novelty: Novelty,
    **files: Any,
) -> None:
    """Decide the outcome of every candidate; write all of them, and the admitted ones as corpus
    file."""
    cycle = CycleFiles(candidates=candidates_output, **files)
    candidates, shard = admit_cycle(cycle, settings, novelty)
    write_candidates(candidates, candidates_output)
    write_corpus(shard, corpus_output)


if __name__ == "__main__":
    main()
