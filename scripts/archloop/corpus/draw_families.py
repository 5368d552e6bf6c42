"""Random search: candidates of the seed families, every setting drawn at random. No language model has a part in it."""

from collections.abc import Sequence

from archloop.families.programs import AXES, known_families, render
from archloop.layout import Cell, indices_of_shard
from archloop.random_seeds import derive, generator


def draw_families(
    chain: str,
    cycle: int,
    count: int,
    seed: int,
    families: Sequence[str] | None,
    shard: int = 0,
    shards: int = 1,
) -> list[dict]:
    """Return one shard of `count` candidates of a cycle; families: names, None takes all.

    A candidate depends on (seed, chain, cycle, its index) alone, so the first n of a larger cycle are those of a
    smaller one, and the shards of any number hold the same candidates.
    """
    names = known_families(families)
    rows = []
    for index in indices_of_shard(count, shard, shards):
        own = derive(seed, chain, cycle, "draw", index)
        dice = generator(own)
        family = dice.choice(names)
        program = render(family, {axis: dice.choice(values) for axis, values in AXES.items()})
        rows.append(
            candidate(chain, cycle, index, shard)
            | {"program": program, "family": family, "seed": own}
        )
    return rows


def candidate(chain: str, cycle: int, index: int, shard: int) -> dict:
    """Return what every candidate has that no language model wrote."""
    return {
        "id": Cell(chain, cycle).candidate_id(index),
        "chain": chain,
        "cycle": cycle,
        "index": index,
        "shard": shard,
        "new_tokens": 0,
        "prompt_tokens": 0,
    }
