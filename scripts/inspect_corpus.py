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

from archloop.texts import visible
from archloop.tools.inspect_corpus import QUESTIONS, answer
from archloop.workflow.cli import command, path_option


@command
@click.argument("question", type=click.Choice(QUESTIONS))
@click.argument("identity", required=False)
@path_option("--results", "Folder of the results.", required=False, default="results")
@click.option("--chain", help="Only this chain.")
@click.option(
    "--count",
    default=10,
    type=click.IntRange(1, 10_000),
    help="Number of rows of best and neighbours.",
)
def main(question: str, identity: str | None, results: Path, chain: str | None, count: int) -> None:
    """Answer a QUESTION about a run.

    counts: candidates and outcomes per cycle. best: the best programs. About the program with the
    id IDENTITY: neighbours in the corpus; lineage: its prompt, references, adapter and seed; diff
    against its nearest neighbour.
    """
    text = answer(results, question, identity, chain, count)
    # A program may hold what a terminal obeys.
    click.echo(visible(text))


if __name__ == "__main__":
    main()
