"""Draw the candidates of one shard from the seed families, every setting at random."""

import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.candidate_rows import write_candidates_without_answer
from archloop.corpus.draw_families import draw_families
from archloop.layout import Cell
from archloop.workflow.cli import cell_options, path_option, setting_option, shard_options, stage


@stage("output", packages=("jinja2",))
@cell_options
@click.option(
    "--candidates", required=True, type=click.IntRange(min=1), help="Candidates of the whole cycle."
)
@shard_options
@setting_option("seed_corpus", "families", "Names of families, as JSON; null: all.")
@click.option("--seed", required=True, type=int, help="The seed of the chain.")
@path_option("--output", "Candidates of the shard, one per line.")
@path_option("--run-record", "Seconds.")
def main(
    chain: str,
    cycle: int,
    candidates: int,
    shard: int,
    shards: int,
    families: list[str] | None,
    seed: int,
    output: Path,
    run_record: Path,
) -> None:
    """Write random programs of the seed families, one candidate per line."""
    started = time.monotonic()
    cell = Cell(chain, cycle)
    rows = draw_families(cell, candidates, seed, families, shard, shards)
    seconds = time.monotonic() - started
    write_candidates_without_answer(rows, output, run_record, seconds)


if __name__ == "__main__":
    main()
