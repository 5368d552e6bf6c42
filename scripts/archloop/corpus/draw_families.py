"""Random search: candidates of the seed families, every setting drawn at random.

No language model has a part in it.
"""

from collections.abc import Sequence

from archloop.corpus.candidate_rows import Candidate, candidate_without_answer
from archloop.families.programs import AXES, known_families, render, variant_of
from archloop.layout import Cell, indices_of_shard
from archloop.random_seeds import derive, generator


def draw_families(
    cell: Cell,
    count: int,
    seed: int,
    families: Sequence[str] | None,
    shard: int = 0,
    shards: int = 1,
) -> list[Candidate]:
    """Return one shard of `count` candidates of a cycle; families: names, None takes all.

    A candidate depends on (seed, cell, its index) alone, so the first n of a larger cycle
    are those of a smaller one, and the shards of any number hold the same candidates.
    """
    names = known_families(families)
    candidates: list[Candidate] = []
    for index in indices_of_shard(count, shard, shards):
        random_seed = derive(seed, cell.chain, cell.cycle, "draw", index)
        rng = generator(random_seed)
        family = rng.choice(names)
        variant = variant_of([rng.choice(values) for values in AXES.values()])
        program = render(family, variant)

        candidate = candidate_without_answer(cell, index, shard, program)
        candidate["family"] = family
        candidate["seed"] = random_seed
        candidates.append(candidate)

    return candidates
