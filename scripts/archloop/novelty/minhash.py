"""Programs as sets of token shingles, and their MinHash signatures, many programs at once.

A shingle is a run of normalised tokens. It is hashed to 64 bits, a polynomial in the 64-bit hashes
of its tokens; exact comparison uses all 64 (two different shingles among a thousand collide with
probability 3e-14), MinHash the upper 32.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from archloop.novelty.signature_scheme import PERMUTATIONS, SCHEME
from archloop.novelty.tokens import batches, normalised
from archloop.novelty.vocabulary import VOCABULARY

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
LARGEST_HASH = np.iinfo(np.uint32).max
# Shingles of one program that are permuted at once: it bounds the memory.
SIGNED_AT_ONCE = 16_384


def shingles(programs: Sequence[str], size: int) -> Iterator[np.ndarray]:
    """Yield for each program the hashes (uint64) of its shingles of `size` tokens, in order.

    Repeats are included. A program of fewer tokens is one shingle.
    """
    for batch in batches(programs):
        numbers, owners = normalised(batch)
        hashes = np.frombuffer(VOCABULARY.hashes, np.uint64)[numbers]
        counts = np.bincount(owners, minlength=len(batch))
        hashes, counts = _filled_up(hashes, owners, counts, size)

        rolled = _mix64(_polynomials(hashes, size))
        starts = np.cumsum(counts) - counts
        # A window that begins later would reach into the next program.
        ends = starts + counts - size + 1
        for start, end in zip(starts, ends):
            yield rolled[start:end]


def shingle_sets(programs: Sequence[str], size: int) -> Iterator[np.ndarray]:
    """Yield for each program its set of shingles: hashes (uint64), sorted, without repeats."""
    for hashes in shingles(programs, size):
        yield np.unique(hashes)


def jaccard(one: np.ndarray, two: np.ndarray) -> float:
    """Return |intersection| / |union| of two sorted sets of shingles."""
    # Where it stands in `two` if it is there; what is larger than all stands after the last.
    positions = np.searchsorted(two, one)
    nearest = np.minimum(positions, len(two) - 1)
    common = int(np.count_nonzero(two[nearest] == one))
    union = len(one) + len(two) - common
    return common / union


def signatures(programs: Sequence[str], size: int) -> np.ndarray:
    """Return the MinHash signatures, uint32 (programs, 256).

    They are bit for bit those of datasketch, many times faster.
    """
    factors, summands = permutations()
    signed = np.empty((len(programs), PERMUTATIONS), np.uint32)
    for row, hashes in enumerate(shingles(programs, size)):
        least = np.full(PERMUTATIONS, LARGEST_HASH, np.uint32)
        upper = (hashes >> np.uint64(32)).astype(np.uint32)
        for start in range(0, len(upper), SIGNED_AT_ONCE):
            mixed = _mix32(upper[start : start + SIGNED_AT_ONCE])
            permuted = factors[:, None] * mixed
            permuted += summands[:, None]
            np.minimum(least, permuted.min(axis=1), out=least)

        signed[row] = least

    return signed


@lru_cache(maxsize=1)
def permutations() -> tuple[np.ndarray, np.ndarray]:
    """Return datasketch's own factors and summands, uint32 (256,) each."""
    from datasketch import MinHash  # it imports much of scipy, and few jobs sign anything

    minhash = MinHash(PERMUTATIONS, seed=SCHEME["seed"], scheme=SCHEME["scheme"])
    factors, summands = minhash.permutations
    return factors, summands


def _filled_up(
    hashes: np.ndarray, owners: np.ndarray, counts: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give each program of fewer than `size` tokens as many blanks as it lacks.

    Returns (hashes of the tokens, how many each program has).
    """
    lacking = np.maximum(size - counts, 0)
    short = np.repeat(np.arange(len(counts)), lacking)
    if not len(short):
        return hashes, counts
    blanks = np.zeros(len(short), np.uint64)
    filled = np.concatenate([hashes, blanks])
    # Stable, so the blanks of a program come after its tokens.
    order = np.argsort(np.concatenate([owners, short]), kind="stable")
    return filled[order], np.maximum(counts, size)


def _polynomials(hashes: np.ndarray, size: int) -> np.ndarray:
    """Return the polynomial of each run of `size` hashes, modulo 2**64."""
    count = len(hashes) - size + 1
    values = np.zeros(count, np.uint64)
    for offset in range(size):
        # numpy's unsigned integers wrap around, which is the modulus.
        values *= MULTIPLIER
        values += hashes[offset : offset + count]
    return values


def _mix32(value: np.ndarray) -> np.ndarray:
    """The finaliser of MurmurHash3, as datasketch applies it before its affine permutations."""
    value = value ^ (value >> np.uint32(16))
    value *= np.uint32(0x85EBCA6B)
    value ^= value >> np.uint32(13)
    value *= np.uint32(0xC2B2AE35)
    value ^= value >> np.uint32(16)
    return value


def _mix64(value: np.ndarray) -> np.ndarray:
    """The 64-bit finaliser of MurmurHash3."""
    value = value ^ (value >> np.uint64(33))
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value
