"""Draw the candidates of one shard from the seed families, every setting at random."""

import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.draw_families import draw_families
from archloop.files import write_json, write_jsonl
from archloop.layout import Cell
from archloop.workflow.cli import path_option, setting_option, stage


@stage("output", packages=("jinja2",))
@click.option("--chain", required=True, help="Name of the chain.")
@click.option("--cycle", required=True, type=click.IntRange(min=1), help="Number of the cycle.")
@click.option(
    "--candidates", required=True, type=click.IntRange(min=1), help="Candidates of the whole cycle."
)
@click.option(
    "--shard", default=0, type=click.IntRange(min=0), help="Which of the shards to make, from 0."
)
@click.option(
    "--shards", default=1, type=click.IntRange(min=1), help="Number of shards of the cycle."
)
@setting_option("seed_corpus", "families", "Names of families, as JSON; null: all.")
@click.option("--seed", required=True, type=int, help="The seed of the chain.")
@path_option("--output", "Candidates of the shard, one per line.")
@path_option("--run-record", "Seconds.")
def main(chain, cycle, candidates, shard, shards, families, seed, output, run_record) -> None:
    """Write random programs of the seed families, one candidate per line."""
    started = time.monotonic()
    rows = draw_families(Cell(chain, cycle), candidates, seed, families, shard, shards)
    write_json(
        run_record,
        {"device": None, "new_tokens": 0, "seconds": round(time.monotonic() - started, 2)},
    )
    write_jsonl(output, rows)


if __name__ == "__main__":
    main()
