"""Transfer of designs: what one chain admitted becomes the candidates of another, to be judged on its data set."""

import polars as pl

from archloop.corpus.draw_families import candidate
from archloop.layout import is_in_shard

# What a program keeps of where it comes from.
KEPT = ("program", "family", "prompt_id", "prompt", "references", "adapter", "seed")


def transfer(
    corpus: pl.DataFrame, chain: str, cycle: int, shard: int = 0, shards: int = 1
) -> list[dict]:
    """Return one shard of the programs of `corpus` as candidates, in their order; `origin` is the id that each had."""
    return [
        candidate(chain, cycle, index, shard)
        | {name: row[name] for name in KEPT}
        | {"origin": row["id"]}
        for index, row in enumerate(corpus.iter_rows(named=True))
        if is_in_shard(index, shard, shards)
    ]
