"""Every random choice derives from one seed."""

import hashlib
import random

BITS = 53


def derive(*parts: object) -> int:
    """Return a seed in [0, 2**53) that depends on every part and on nothing else.

    It is of the sha256 of the parts' repr. So many bits a number has that other programs read from
    JSON or from a table with gaps; of more they round the last.
    """
    text = "\x1f".join(map(repr, parts))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - BITS)


def uniform(*parts: object) -> float:
    """Return a number in [0, 1), evenly spread, that depends on every part and on nothing else."""
    return derive(*parts) / (1 << BITS)


def generator(*parts: object) -> random.Random:
    """Return a `random.Random` seeded by `derive(*parts)`."""
    return random.Random(derive(*parts))
