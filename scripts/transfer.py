"""Take the designs that a chain admitted as candidates, to be judged on another data set."""

import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.tables import read_corpus
from archloop.corpus.transfer import COLUMNS, transfer
from archloop.files import write_json, write_jsonl
from archloop.layout import Cell
from archloop.workflow.cli import path_option, stage


@stage("output", packages=("polars",))
@path_option("--corpus", "Corpus shards of the chain they come from.", multiple=True)
@click.option("--chain", required=True, help="Name of the chain.")
@click.option("--cycle", required=True, type=click.IntRange(min=1), help="Number of the cycle.")
@click.option(
    "--shard", default=0, type=click.IntRange(min=0), help="Which of the shards to make, from 0."
)
@click.option(
    "--shards", default=1, type=click.IntRange(min=1), help="Number of shards of the cycle."
)
@path_option("--output", "Candidates of the shard, one per line.")
@path_option("--run-record", "Seconds.")
def main(corpus, chain, cycle, shard, shards, output, run_record) -> None:
    """Write the admitted programs of another chain as candidates, one per line."""
    started = time.monotonic()
    rows = transfer(read_corpus(corpus, COLUMNS), Cell(chain, cycle), shard, shards)
    write_json(
        run_record,
        {"device": None, "new_tokens": 0, "seconds": round(time.monotonic() - started, 2)},
    )
    write_jsonl(output, rows)


if __name__ == "__main__":
    main()
