"""The nearest neighbours of programs: exact Jaccard similarity after a MinHash prefilter.

The prefilter is locality-sensitive hashing by counting collisions (Gan et al., Locality-sensitive
hashing scheme based on dynamic collision counting, SIGMOD 2012): 256 bands of one permutation each;
a known program passes when it agrees with the candidate in at least `least_matches(threshold)` of
them. That number is the largest with which a pair exactly at the threshold is missed with a
probability below MISS_RATE; for 0.90 it is 211, an estimate of 0.824. (A cut at an estimate of
0.85, the paper's number, misses 0.5 % of such pairs.) All known signatures are read once, one byte
of each hash, which also yields the most similar program where none passes. What passes is compared
exactly.
"""

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import polars as pl

from archloop.logs import get_logger
from archloop.novelty.minhash import jaccard, shingle_sets, signatures
from archloop.novelty.signature_scheme import PERMUTATIONS

MISS_RATE = 1e-4
# Signatures that are looked at at once: it bounds the memory.
BLOCK = 65_536
# Programs that are shingled at once for the exact comparison.
SHINGLED_AT_ONCE = 5_000
# Of so many best upper bounds one is surely a good estimate, so few others have to be looked at.
BEST_BOUNDS = 64
# Agreements that a byte can count.
COUNTED_AT_ONCE = 128


@dataclass(frozen=True)
class Programs:
    """Programs with their signatures: columns of equal length."""

    ids: pl.Series
    texts: pl.Series
    signatures: pl.Series  # bytes: 256 little-endian uint32

    def __len__(self) -> int:
        return len(self.ids)


NO_PROGRAMS = Programs(
    ids=pl.Series(dtype=pl.String),
    texts=pl.Series(dtype=pl.String),
    signatures=pl.Series(dtype=pl.Binary),
)


@dataclass(frozen=True)
class Neighbours:
    """What is known that resembles one program.

    exact: row -> Jaccard similarity, of what passed the prefilter. row, estimate: the most similar
    by MinHash; None and 0 when nothing is known.
    """

    exact: dict[int, float] = field(default_factory=dict)
    row: int | None = None
    estimate: float = 0.0


def neighbours(
    programs: Programs, known: Programs, threshold: float, shingle_tokens: int
) -> list[Neighbours]:
    """Return for each program what resembles it among the known ones; ties go to the smaller id."""
    if not len(known) or not len(programs):
        return [Neighbours() for _ in range(len(programs))]

    least = least_matches(threshold)
    known_low = low_bytes(known.signatures)
    passed, best = [], []
    for signature in signature_matrix(programs.signatures):
        upper = count_matches(known_low, signature)
        close = np.flatnonzero(upper >= least)
        matches = _exact_matches(known, close, signature)
        passed.append(close[matches >= least])
        best.append(_best_estimate(known, upper, signature))

    compared = _compare(programs, known, passed, shingle_tokens)
    result = []
    for exact, (row, estimate) in zip(compared, best):
        result.append(Neighbours(exact, row, estimate))
    return result


def with_signatures(ids: list[str], texts: list[str], shingle_tokens: int) -> Programs:
    """Return programs with their signatures, computed in bulk."""
    signed = signatures(texts, shingle_tokens).astype("<u4")
    packed = [row.tobytes() for row in signed]
    return Programs(
        pl.Series(ids, dtype=pl.String),
        pl.Series(texts, dtype=pl.String),
        pl.Series(packed, dtype=pl.Binary),
    )


def known_programs(corpus: pl.DataFrame, shingle_tokens: int) -> Programs:
    """Return the programs of the corpus with their stored signatures.

    Those of another shingle size (a chain that overrides it) are computed again, in bulk.
    """
    fitting = corpus["shingle_tokens"].eq_missing(shingle_tokens)
    if fitting.all():
        return Programs(corpus["id"], corpus["program"], corpus["signature"])

    get_logger("novelty").info(
        "computing MinHash signatures of %d programs in shingles of %d tokens",
        corpus.height,
        shingle_tokens,
    )

    ids, texts = corpus["id"].to_list(), corpus["program"].to_list()
    return with_signatures(ids, texts, shingle_tokens)


def miss_rate(similarity: float, least: int, permutations: int = PERMUTATIONS) -> float:
    """Return the probability that a pair of this similarity agrees in fewer than `least` places.

    It agrees in each of the permutations with a probability that is its Jaccard similarity (Broder
    1997), so the number of agreements is binomial.
    """
    terms = []
    for count in range(least):
        ways = math.comb(permutations, count)
        agree = similarity**count
        differ = (1 - similarity) ** (permutations - count)
        terms.append(ways * agree * differ)

    return math.fsum(terms)


@cache
def least_matches(threshold: float, permutations: int = PERMUTATIONS) -> int:
    """Return how many agreements to ask for.

    It is the largest number that misses a pair at the threshold with at most MISS_RATE.
    """
    for least in range(permutations):
        if miss_rate(threshold, least + 1, permutations) > MISS_RATE:
            return least
    return permutations


def low_bytes(packed: pl.Series) -> np.ndarray:
    """Return the lowest byte of every hash, uint8 (256, programs).

    A quarter of the memory, and fast to scan.
    """
    low = np.empty((PERMUTATIONS, len(packed)), np.uint8)
    for start in range(0, len(packed), BLOCK):
        block = signature_matrix(packed[start : start + BLOCK])
        end = start + len(block)
        low[:, start:end] = block.astype(np.uint8).T

    return low


def count_matches(low: np.ndarray, signature: np.ndarray) -> np.ndarray:
    """Return for each known program in how many permutations the lowest bytes agree, uint16.

    That is never less than the number in which the hashes agree.
    """
    counts = np.zeros(low.shape[1], np.uint16)
    wanted = signature.astype(np.uint8)
    for start in range(0, low.shape[1], BLOCK):
        block = low[:, start : start + BLOCK]
        total = counts[start : start + BLOCK]
        equal = np.empty(block.shape[1], bool)
        some = np.zeros(block.shape[1], np.uint8)
        for row in range(PERMUTATIONS):
            np.equal(block[row], wanted[row], out=equal)
            some += equal.view(np.uint8)
            # Before a byte can overflow.
            if (row + 1) % COUNTED_AT_ONCE == 0:
                total += some
                some[:] = 0

    return counts


def signature_matrix(packed: pl.Series) -> np.ndarray:
    """Return signatures as uint32 (programs, 256)."""
    joined = b"".join(packed.to_list())
    return np.frombuffer(joined, "<u4").reshape(-1, PERMUTATIONS)


def _exact_matches(known: Programs, rows: np.ndarray, signature: np.ndarray) -> np.ndarray:
    """Return in how many permutations these known programs agree with a signature."""
    counts = np.zeros(len(rows), np.int64)
    for start in range(0, len(rows), BLOCK):
        end = start + BLOCK
        packed = known.signatures.gather(rows[start:end])
        agree = signature_matrix(packed) == signature
        counts[start:end] = agree.sum(axis=1)
    return counts


def _best_estimate(known: Programs, upper: np.ndarray, signature: np.ndarray) -> tuple[int, float]:
    """Return (row, share of agreeing permutations) of the best.

    upper: bounds of the numbers of agreements from above.
    """
    count = min(BEST_BOUNDS, len(upper))
    top = np.argpartition(upper, -count)[-count:]
    at_least = int(_exact_matches(known, top, signature).max())

    rows = np.flatnonzero(upper >= at_least)
    matches = _exact_matches(known, rows, signature)
    best = rows[matches == matches.max()].tolist()
    row = min(best, key=lambda candidate: known.ids[candidate])
    return row, int(matches.max()) / PERMUTATIONS


def _compare(
    programs: Programs, known: Programs, passed: list[np.ndarray], shingle_tokens: int
) -> list[dict[int, float]]:
    """Return for each program row -> exact similarity of the known programs that passed."""
    exact: list[dict[int, float]] = [{} for _ in passed]
    asked = [position for position, rows in enumerate(passed) if len(rows)]
    texts = [programs.texts[position] for position in asked]
    own_sets = list(shingle_sets(texts, shingle_tokens))

    wanted = np.unique(np.concatenate(passed))
    for start in range(0, len(wanted), SHINGLED_AT_ONCE):
        part = wanted[start : start + SHINGLED_AT_ONCE]
        known_texts = known.texts.gather(part).to_list()
        shingled = shingle_sets(known_texts, shingle_tokens)
        known_sets = dict(zip(part.tolist(), shingled))
        for position, own_set in zip(asked, own_sets):
            similarities = exact[position]
            for row in np.intersect1d(passed[position], part).tolist():
                similarities[row] = jaccard(own_set, known_sets[row])

    return exact
