"""Novelty at 10^4 to 10^6 programs: signatures against datasketch's, the gate's time and memory.

    nice python benchmarks/novelty.py --size 10000 --size 100000 --size 1000000

Programs are synthetic but program-like (benchmarks/synthetic.py). Everything runs on one core. The
corpus is written as shards of 100,000 programs; the gate is a process of its own that reads them
with their signatures, checks their digests and judges 200 candidates: 60 exact duplicates,
near-copies and new programs each, and 20 duplicates of other candidates. Results: docs/novelty.md.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.update({"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"})
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import click
import numpy as np
import polars as pl
from datasketch import MinHash
from synthetic import documents, near_copy

from archloop.corpus.admit import KNOWN_COLUMNS, admit
from archloop.corpus.candidate_rows import join
from archloop.corpus.tables import CORPUS, read_corpus, write_corpus
from archloop.data.dataset_file import DatasetMetadata
from archloop.novelty.minhash import jaccard, shingle_sets, shingles, signatures
from archloop.novelty.neighbours import neighbours, with_signatures
from archloop.novelty.signature_scheme import SCHEME
from archloop.novelty.tokens import normalised_tokens
from archloop.settings.sections import Admission, Novelty

SHARD = 100_000
TOKENS = 10  # of a shingle
NOVELTY = Novelty(gate="either", threshold=0.9, shingle_tokens=TOKENS)
ADMISSION = Admission(
    threshold=0.4,
    relative_to_chance=False,
    measure="accuracy",
    minimum_admitted=0,
    fill_accuracy=None,
)
DATASET = DatasetMetadata(
    name="x",
    classes=10,
    class_names=[],
    channels=1,
    size=8,
    chance=0.1,
    mean=[],
    std=[],
    images={},
    notes=[],
    seed=1,
)
# The record of a candidate that the judge trained.
VALID = {
    "outcome": "trained",
    "accuracy": 0.5,
    "detail": "",
    "parameters": 1,
    "multiply_adds": 1,
    "graph": None,
    "key": "",
}


@click.group(invoke_without_command=True)
@click.option(
    "--size", "sizes", multiple=True, type=int, default=(10_000, 100_000), show_default=True
)
@click.pass_context
def main(context, sizes) -> None:
    """Print all measurements."""
    if context.invoked_subcommand is None:
        measure_signatures(2_000)
        measure_exactness(10_000)
        for size in sizes:
            measure_gate(size)


def measure_signatures(count: int) -> None:
    """Programs to signatures, with their tokens, against datasketch's update for every shingle."""
    programs = list(documents(count, seed=5))
    started = time.perf_counter()
    ours = signatures(programs, TOKENS)
    bulk_s = time.perf_counter() - started

    # A tenth of them tells: datasketch takes as long for each.
    some = programs[: count // 10]
    per_program = count / len(some)
    theirs, seconds = by_update(hashes_of(some), lambda number: number)
    update_s = seconds * per_program
    tokens = [normalised_tokens(program) for program in some]
    _, seconds = by_update(texts_of(tokens), None)
    default_s = seconds * per_program

    equal = bool((theirs == ours[: len(some)]).all())
    click.echo(
        f"signatures of {count} programs, tokenising included: {bulk_s:.2f} s"
        f" ({count / bulk_s:.0f}/s); with datasketch's update {update_s:.2f} s"
        f" ({update_s / bulk_s:.1f}x), bit for bit equal: {equal}; update with datasketch's default"
        f" hash, its tokenising not counted: {default_s:.2f} s ({default_s / bulk_s:.1f}x)"
    )


def by_update(programs: Iterable[list], hashfunc: Callable | None) -> tuple[np.ndarray, float]:
    """Return (signatures by datasketch's update, seconds). programs: the shingles of each."""
    scheme = {name: SCHEME[name] for name in ("seed", "scheme")}
    started = time.perf_counter()
    permutations = MinHash(num_perm=SCHEME["permutations"], **scheme).permutations
    hashes = []
    for shingled in programs:
        minhash = MinHash(
            num_perm=SCHEME["permutations"],
            **scheme,
            permutations=permutations,
            hashfunc=hashfunc,
        )
        for shingle in shingled:
            minhash.update(shingle)
        hashes.append(minhash.hashvalues)

    return np.stack(hashes), time.perf_counter() - started


def hashes_of(programs: list[str]) -> Iterator[list[int]]:
    """Yield the hashes of each program's shingles, the 32 bits that MinHash takes."""
    for hashes in shingles(programs, TOKENS):
        yield (hashes >> np.uint64(32)).tolist()


def texts_of(programs: list[list[str]]) -> Iterator[list[bytes]]:
    """Yield the shingles of each program as text. programs: the tokens of each."""
    for tokens in programs:
        count = len(tokens) - TOKENS + 1
        yield [" ".join(tokens[start : start + TOKENS]).encode() for start in range(count)]


class Planted(NamedTuple):
    """A program, another one made from it, and their exact similarity."""

    program: str
    other: str
    similarity: float


def measure_exactness(count: int) -> None:
    """Near-copies planted at similarities from 0.85 to 0.95: the gate against sets of tuples."""
    pairs = []
    for seed, program in enumerate(documents(count, seed=11)):
        other = near_copy(program, 1 + seed % 2, seed)
        similarity = jaccard(*shingle_sets([program, other], TOKENS))
        if 0.85 <= similarity <= 0.95:
            pairs.append(Planted(program, other, similarity))

    known = with_signatures(numbered("p", len(pairs)), [pair.program for pair in pairs], TOKENS)
    asked = with_signatures(numbered("q", len(pairs)), [pair.other for pair in pairs], TOKENS)
    nearest = neighbours(asked, known, NOVELTY.threshold, 10)

    called = set()
    true = set()
    for index, pair in enumerate(pairs):
        # The program that another was made from has its number.
        if nearest[index].exact.get(index, 0) >= NOVELTY.threshold:
            called.add(index)
        if pair.similarity >= NOVELTY.threshold:
            true.add(index)

    right = len(called & true)
    click.echo(
        f"planted pairs at 0.85 to 0.95: {len(pairs)}, of them near-copies {len(true)}: precision"
        f" {right / len(called):.4f}, recall {right / len(true):.4f}"
    )


def numbered(prefix: str, count: int, first: int = 0) -> list[str]:
    """Return so many ids, in their order."""
    return [f"{prefix}{first + index:07d}" for index in range(count)]


def measure_gate(size: int) -> None:
    """The corpus of `size` programs on disk, then the gate in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        examples = write_shards(Path(folder), size)
        built = time.perf_counter() - started
        (Path(folder) / "examples.json").write_text(json.dumps(examples))
        done = subprocess.run(
            [sys.executable, __file__, "gate", folder], capture_output=True, text=True, check=True
        )
        click.echo(f"{size:>9,} known: {done.stdout.strip()} (made in {built:.0f} s)")


def write_shards(folder: Path, size: int) -> list[str]:
    """Write the corpus and return 120 of its programs, evenly spread."""
    examples, start = [], 0
    while start < size:
        count = min(SHARD, size - start)
        programs = list(documents(count, seed=1000 + start))
        known = with_signatures(numbered("main-", count, start), programs, TOKENS)
        columns = {
            "id": known.ids,
            "program": known.texts,
            "signature": known.signatures,
            "prompt": known.texts,
        }
        frame = pl.DataFrame(columns).with_columns(
            pl.lit("main").alias("chain"),
            pl.lit(TOKENS).alias("shingle_tokens"),
            (pl.col("id") + "-graph").alias("graph_digest"),
        )
        # Columns that the gate does not read.
        missing = []
        for name, kind in CORPUS.items():
            if name not in frame.columns:
                missing.append(pl.lit(None).cast(kind).alias(name))
        write_corpus(frame.with_columns(missing), folder / f"{start:07d}.parquet")
        examples += programs[:: max(1, size // 120)]
        start += count
    return examples[:120]


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def gate(folder) -> None:
    """Judge 200 candidates against the shards of a folder; print seconds and peak memory."""
    examples = json.loads((folder / "examples.json").read_text())
    fresh = list(documents(60, seed=3))
    copies = [near_copy(text, 1, seed) for seed, text in enumerate(examples[60:])]
    programs = [*examples[:60], *copies, *fresh, *fresh[:20]]

    candidates = []
    records = []
    for index, program in enumerate(programs):
        name = f"c-{index:03d}"
        candidates.append({"id": name, "index": index, "program": program})
        records.append(VALID | {"id": name})

    started = time.perf_counter()
    corpus = read_corpus(sorted(folder.glob("*.parquet")), KNOWN_COLUMNS)
    read = time.perf_counter() - started
    whole, _ = admit(join(candidates, records), corpus, DATASET, ADMISSION, NOVELTY)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    outcomes = dict(sorted(whole["outcome"].value_counts().iter_rows()))
    click.echo(
        f"{len(candidates)} candidates in {seconds:.1f} s, {read:.1f} s of it reading;"
        f" {peak:.2f} GB; {outcomes}"
    )


if __name__ == "__main__":
    main()
