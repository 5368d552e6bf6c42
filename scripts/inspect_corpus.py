"""Ask the corpus from the terminal.

python scripts/inspect_corpus.py counts
python scripts/inspect_corpus.py best --count 5 --chain main
python scripts/inspect_corpus.py neighbours main-02-0007
python scripts/inspect_corpus.py lineage main-02-0007
python scripts/inspect_corpus.py diff main-02-0007
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.errors import InputError
from archloop.texts import visible
from archloop.tools import inspect_corpus as corpus
from archloop.workflow.cli import command, path_option

ANSWERS = {
    "counts": lambda records, identity, count: corpus.counts(records),
    "best": lambda records, identity, count: corpus.best(records, count),
    "neighbours": corpus.neighbours,
    "lineage": lambda records, identity, count: corpus.lineage(records, identity),
    "diff": lambda records, identity, count: corpus.difference(records, identity),
}


@command
@click.argument("question", type=click.Choice(list(ANSWERS)))
@click.argument("identity", required=False)
@path_option("--results", "Folder of the results.", required=False, default="results")
@click.option("--chain", help="Only this chain.")
@click.option(
    "--count",
    default=10,
    type=click.IntRange(1, 10_000),
    help="Number of rows of best and neighbours.",
)
def main(question, identity, results, chain, count) -> None:
    """Answer a QUESTION about a run.

    counts: candidates and outcomes per cycle. best: the best programs. About the program with the
    id IDENTITY: neighbours in the corpus; lineage: its prompt, references, adapter and seed; diff
    against its nearest neighbour.
    """
    if question in ("neighbours", "lineage", "diff") and not identity:
        raise InputError(
            f"{question} wants the id of a program, as in: inspect_corpus.py {question}"
            " main-01-0003"
        )
    # A program may hold what a terminal obeys.
    click.echo(
        visible(ANSWERS[question](corpus.read_corpus_records(results, chain), identity, count))
    )


if __name__ == "__main__":
    main()
