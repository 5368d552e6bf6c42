"""What counts as a near-copy, for the gate and for the reports: exact Jaccard similarity after a MinHash prefilter.

The prefilter is locality-sensitive hashing by counting collisions (Gan et al., Locality-sensitive hashing scheme based
on dynamic collision counting, SIGMOD 2012): 256 bands of one permutation each; a known program passes when it agrees
with the candidate in at least `least_matches(threshold)` of them. That number is the largest with which a pair exactly
at the threshold is missed with a probability below MISS_RATE; for 0.90 it is 211, an estimate of 0.824. (A cut at
an estimate of 0.85, the paper's number, misses 0.5 % of such pairs.) All known signatures are read once, one byte of
each hash, which also yields the most similar program where none passes. What passes is compared exactly.
"""

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import polars as pl

from archloop.novelty.minhash import PERMUTATIONS, jaccard, shingle_sets, signatures
from archloop.progress import get_logger

MISS_RATE = 1e-4
# What counts as a copy among the programs of the seed corpus, whatever the settings say of candidates: another gate is
# another verdict on candidates, and the seeds that the model was taught are the same.
AMONG_SEEDS = {"gate": "either", "threshold": 0.9, "shingle_tokens": 10}
BLOCK = 65_536
# Programs that are shingled at once for the exact comparison.
SHINGLED_AT_ONCE = 5_000


@dataclass(frozen=True)
class Programs:
    """Programs with their signatures: columns of equal length."""

    ids: pl.Series
    texts: pl.Series
    signatures: pl.Series  # bytes: 256 little-endian uint32

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Neighbours:
    """What is known that resembles one program: exact similarities of what passed the prefilter, and the best estimate.

    exact: row -> Jaccard similarity. row, estimate: the most similar by MinHash; None and 0 when nothing is known.
    """

    exact: dict[int, float] = field(default_factory=dict)
    row: int | None = None
    estimate: float = 0.0


@dataclass(frozen=True)
class Nearest:
    """The most similar known program: its id, the similarity, whether that is exact (else the MinHash estimate)."""

    id: str | None
    similarity: float
    exact: bool
    source: str | None = None


def neighbours(
    programs: Programs, known: Programs, threshold: float, shingle_tokens: int
) -> list[Neighbours]:
    """Return for each program what resembles it among the known ones; ties go to the smaller id."""
    if not len(known) or not len(programs):
        return [Neighbours() for _ in range(len(programs))]
    least = least_matches(threshold)
    low = low_bytes(known.signatures)
    own = _matrix(programs.signatures)
    passed, found = [], []
    for row in range(len(programs)):
        upper = count_matches(low, own[row])
        close = np.flatnonzero(upper >= least)
        close = close[_exact_matches(known, close, own[row]) >= least]
        passed.append(close)
        found.append(_best_estimate(known, upper, own[row]))
    exact = _compare(programs, known, passed, shingle_tokens)
    return [Neighbours(exact[row], *found[row]) for row in range(len(programs))]


def with_signatures(ids: list[str], texts: list[str], shingle_tokens: int) -> Programs:
    """Return programs with their signatures, computed in bulk."""
    packed = [row.tobytes() for row in signatures(texts, shingle_tokens).astype("<u4")]
    return Programs(
        pl.Series(ids, dtype=pl.String),
        pl.Series(texts, dtype=pl.String),
        pl.Series(packed, dtype=pl.Binary),
    )


def known_programs(corpus: pl.DataFrame, shingle_tokens: int) -> Programs:
    """Return the programs of the corpus with their stored signatures.

    Those of another shingle size (a chain that overrides it) are computed anew, in bulk.
    """
    fitting = corpus["shingle_tokens"].eq_missing(shingle_tokens)
    if fitting.all():
        return Programs(corpus["id"], corpus["program"], corpus["signature"])
    get_logger("novelty").info(
        "signing %d programs in shingles of %d tokens", corpus.height, shingle_tokens
    )
    return with_signatures(corpus["id"].to_list(), corpus["program"].to_list(), shingle_tokens)


def pick(options: list[Nearest]) -> Nearest:
    """Return the most similar: exact ones before estimates, then the higher similarity, then the smaller id."""
    options = [option for option in options if option.id is not None]
    return min(
        options,
        key=lambda each: (not each.exact, -each.similarity, each.id),
        default=Nearest(None, 0.0, True),
    )


def nearest(found: Neighbours, known: Programs, sources: pl.Series | str) -> Nearest:
    """Return the most similar of the known programs; `sources` says of each row, or of all, where it comes from."""
    options = [(row, similarity, True) for row, similarity in found.exact.items()]
    if not options and found.row is not None:
        options = [(found.row, found.estimate, False)]
    return pick(
        [
            Nearest(
                known.ids[row],
                similarity,
                exact,
                sources if isinstance(sources, str) else sources[row],
            )
            for row, similarity, exact in options
        ]
    )


def is_copy(found: Nearest, twin: str | None, novelty: dict) -> bool:
    """Say whether a program is a near-copy: by its text, by its graph, by either of them (gate `either`), or never."""
    by_text = found.id is not None and found.exact and found.similarity >= novelty["threshold"]
    return (by_text and novelty["gate"] in ("text", "either")) or (
        twin is not None and novelty["gate"] in ("graph", "either")
    )


def near_copies(rows: list[dict], novelty: dict) -> tuple[dict[str, str], pl.Series]:
    """Return (id -> why, for every row that is a near-copy of an earlier one that stays; the signatures of all rows).

    rows: id and program, and graph_digest where the gate compares graphs.
    """
    own = with_signatures(
        [row["id"] for row in rows], [row["program"] for row in rows], novelty["shingle_tokens"]
    )
    found = neighbours(own, own, novelty["threshold"], novelty["shingle_tokens"])
    why, kept, graphs = {}, set(), {}
    for place, row in enumerate(rows):
        best = pick(
            [
                Nearest(own.ids[at], value, True)
                for at, value in found[place].exact.items()
                if at in kept
            ]
        )
        twin = graphs.get(row.get("graph_digest"))
        if is_copy(best, twin, novelty):
            text = best.id is not None and best.similarity >= novelty["threshold"]
            why[row["id"]] = (
                f"near-copy of {best.id} ({best.similarity:.3f})"
                if text
                else f"computes the same graph as {twin}"
            )
            continue
        kept.add(place)
        if row.get("graph_digest"):
            graphs.setdefault(row["graph_digest"], row["id"])
    return why, own.signatures


def miss_rate(similarity: float, least: int, permutations: int = PERMUTATIONS) -> float:
    """Return the probability that a pair of this Jaccard similarity agrees in fewer than `least` permutations.

    Each agrees with a probability that is the similarity (Broder 1997), so the number is binomial.
    """
    terms = (
        math.comb(permutations, count)
        * similarity**count
        * (1 - similarity) ** (permutations - count)
        for count in range(least)
    )
    return math.fsum(terms)


@cache
def least_matches(threshold: float, permutations: int = PERMUTATIONS) -> int:
    """Return the largest number of agreements to ask for that misses a pair at the threshold with at most MISS_RATE."""
    return max(
        least
        for least in range(permutations + 1)
        if miss_rate(threshold, least, permutations) <= MISS_RATE
    )


def low_bytes(packed: pl.Series) -> np.ndarray:
    """Return the lowest byte of every hash, uint8 (256, programs): a quarter of the memory, and fast to scan."""
    low = np.empty((PERMUTATIONS, len(packed)), np.uint8)
    for start in range(0, len(packed), BLOCK):
        block = _matrix(packed[start : start + BLOCK])
        low[:, start : start + len(block)] = block.astype(np.uint8).T
    return low


def count_matches(low: np.ndarray, signature: np.ndarray) -> np.ndarray:
    """Return for each known program in how many permutations the lowest bytes agree: never less than the hashes do."""
    counts = np.empty(low.shape[1], np.uint16)
    wanted = signature.astype(np.uint8)
    for start in range(0, low.shape[1], BLOCK):
        block = low[:, start : start + BLOCK]
        equal = np.empty(block.shape[1], bool)
        some = np.zeros(block.shape[1], np.uint8)
        total = counts[start : start + BLOCK]
        total[:] = 0
        for row in range(PERMUTATIONS):
            np.equal(block[row], wanted[row], out=equal)
            some += equal.view(np.uint8)
            if row % 128 == 127:  # before a byte can overflow
                total += some
                some[:] = 0
    return counts


def _matrix(packed: pl.Series) -> np.ndarray:
    return np.frombuffer(b"".join(packed.to_list()), "<u4").reshape(-1, PERMUTATIONS)


def _exact_matches(known: Programs, rows: np.ndarray, signature: np.ndarray) -> np.ndarray:
    counts = np.zeros(len(rows), np.int64)
    for start in range(0, len(rows), BLOCK):
        block = _matrix(known.signatures.gather(rows[start : start + BLOCK]))
        counts[start : start + BLOCK] = (block == signature).sum(axis=1)
    return counts


def _best_estimate(known: Programs, upper: np.ndarray, signature: np.ndarray) -> tuple[int, float]:
    """Return (row, share of agreeing permutations) of the best; `upper` bounds the number of agreements from above."""
    top = np.argpartition(upper, -min(64, len(upper)))[-64:]
    best = int(_exact_matches(known, top, signature).max())
    rows = np.flatnonzero(upper >= best)
    matches = _exact_matches(known, rows, signature)
    rows = rows[matches == matches.max()]
    row = min(rows.tolist(), key=lambda at: known.ids[at])
    return row, int(matches.max()) / PERMUTATIONS


def _compare(
    programs: Programs, known: Programs, passed: list[np.ndarray], shingle_tokens: int
) -> list[dict]:
    """Return for each program row -> exact Jaccard similarity of the known programs that passed."""
    exact = [{} for _ in passed]
    wanted = np.unique(np.concatenate(passed))
    own = dict.fromkeys(row for row, rows in enumerate(passed) if len(rows))
    own = dict(zip(own, shingle_sets([programs.texts[row] for row in own], shingle_tokens)))
    for start in range(0, len(wanted), SHINGLED_AT_ONCE):
        part = wanted[start : start + SHINGLED_AT_ONCE]
        sets = dict(
            zip(part.tolist(), shingle_sets(known.texts.gather(part).to_list(), shingle_tokens))
        )
        for row, mine in own.items():
            for other in np.intersect1d(passed[row], part).tolist():
                exact[row][other] = jaccard(mine, sets[other])
    return exact
