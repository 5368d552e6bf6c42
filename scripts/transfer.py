"""Take the designs that a chain admitted as candidates, to be judged on another data set."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with -P or PYTHONSAFEPATH Python leaves it out

from archloop.corpus.candidate_rows import write_candidates_without_answer
from archloop.corpus.tables import read_corpus
from archloop.corpus.transfer import COLUMNS, transfer
from archloop.layout import Cell
from archloop.workflow.cli import cell_options, path_option, shard_options, stage


@stage("output", packages=("polars",))
@path_option("--corpus", "Corpus shards of the chain they come from.", multiple=True)
@cell_options
@shard_options
@path_option("--output", "Candidates of the shard, one per line.")
@path_option("--run-record", "Seconds.")
def main(
    corpus: tuple[Path, ...],
    chain: str,
    cycle: int,
    shard: int,
    shards: int,
    output: Path,
    run_record: Path,
) -> None:
    """Write the admitted programs of another chain as candidates, one per line."""
    started = time.monotonic()
    designs = read_corpus(corpus, COLUMNS)
    rows = transfer(designs, Cell(chain, cycle), shard, shards)
    seconds = time.monotonic() - started
    write_candidates_without_answer(rows, output, run_record, seconds)


if __name__ == "__main__":
    main()
