"""Transfer of designs: what one chain admitted becomes the candidates of another.

There they are judged on its data set.
"""

import polars as pl

from archloop.corpus.candidate_rows import Candidate, candidate_without_answer
from archloop.layout import Cell, is_in_shard

# What is read of a design: it keeps all but its id, which becomes its origin.
COLUMNS = (
    "id",
    "program",
    "family",
    "prompt_id",
    "prompt",
    "references",
    "adapter",
    "seed",
)


def transfer(corpus: pl.DataFrame, cell: Cell, shard: int = 0, shards: int = 1) -> list[Candidate]:
    """Return one shard of the programs of `corpus` as candidates of a cycle, in their order.

    `origin` is the id that each had.
    """
    candidates: list[Candidate] = []
    for index, row in enumerate(corpus.iter_rows(named=True)):
        if not is_in_shard(index, shard, shards):
            continue
        candidate = candidate_without_answer(cell, index, shard, row["program"])
        candidate["origin"] = row["id"]
        candidate["family"] = row["family"]
        candidate["prompt_id"] = row["prompt_id"]
        candidate["prompt"] = row["prompt"]
        candidate["references"] = row["references"]
        candidate["adapter"] = row["adapter"]
        candidate["seed"] = row["seed"]
        candidates.append(candidate)

    return candidates
