"""Every random choice derives from one seed."""

import hashlib
import random


def derive(*parts: object) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on nothing else (sha256 of the parts' repr)."""
    digest = hashlib.sha256("\x1f".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: object) -> random.Random:
    """Return a `random.Random` seeded by `derive(*parts)`."""
    return random.Random(derive(*parts))
