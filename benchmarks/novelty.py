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
from pathlib import Path

os.environ.update({"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"})
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import click
import numpy as np
import polars as pl
from datasketch import MinHash
from synthetic import documents, near_copy

from archloop.corpus.admit import KNOWN_COLUMNS, admit
from archloop.corpus.candidates import join
from archloop.corpus.tables import CORPUS, read_corpus, write_corpus
from archloop.data.dataset_file import DatasetMetadata
from archloop.novelty.minhash import SCHEME, jaccard, shingle_sets, shingles, signatures
from archloop.novelty.neighbours import neighbours, with_signatures
from archloop.novelty.tokens import normalised_tokens
from archloop.settings.sections import Admission, Novelty

SHARD = 100_000
NOVELTY = Novelty(gate="either", threshold=0.9, shingle_tokens=10)
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
    ours = signatures(programs, 10)
    bulk = time.perf_counter() - started
    some = programs[: count // 10]
    fresh = {"num_perm": SCHEME["permutations"], "seed": SCHEME["seed"], "scheme": SCHEME["scheme"]}

    def by_update(items, hashfunc) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        hashes = []
        permutations = MinHash(**fresh).permutations
        for shingled in items():
            minhash = MinHash(**fresh, permutations=permutations, hashfunc=hashfunc)
            for shingle in shingled:
                minhash.update(shingle)
            hashes.append(minhash.hashvalues)
        return (time.perf_counter() - started) / len(some) * count, np.stack(hashes)

    def numbers():
        for hashes in shingles(some, 10):
            yield (hashes >> np.uint64(32)).tolist()

    tokens = [normalised_tokens(program) for program in some]

    def texts():
        for each in tokens:
            yield [" ".join(each[at : at + 10]).encode() for at in range(len(each) - 9)]

    update, theirs = by_update(numbers, lambda number: number)
    sha1, _ = by_update(texts, None)
    equal = bool((theirs == ours[: len(some)]).all())
    click.echo(
        f"signatures of {count} programs, tokenising included: {bulk:.2f} s"
        f" ({count / bulk:.0f}/s); with datasketch's update {update:.2f} s"
        f" ({update / bulk:.1f}x), bit for bit equal: {equal}; update with datasketch's default"
        f" hash, its tokenising not counted: {sha1:.2f} s ({sha1 / bulk:.1f}x)"
    )


def measure_exactness(count: int) -> None:
    """Near-copies planted at similarities from 0.85 to 0.95: the gate against sets of tuples."""
    pairs = []
    for seed, program in enumerate(documents(count, seed=11)):
        other = near_copy(program, 1 + seed % 2, seed)
        similarity = jaccard(*shingle_sets([program, other], 10))
        if 0.85 <= similarity <= 0.95:
            pairs.append((program, other, similarity))
    known = with_signatures(
        [f"p{at:06d}" for at in range(len(pairs))], [pair[0] for pair in pairs], 10
    )
    asked = with_signatures(
        [f"q{at:06d}" for at in range(len(pairs))], [pair[1] for pair in pairs], 10
    )
    nearest = neighbours(asked, known, 0.9, 10)
    called = {at for at, each in enumerate(nearest) if each.exact.get(at, 0) >= 0.9}
    true = {at for at, pair in enumerate(pairs) if pair[2] >= 0.9}
    right = len(called & true)
    click.echo(
        f"planted pairs at 0.85 to 0.95: {len(pairs)}, of them near-copies {len(true)}: precision"
        f" {right / len(called):.4f}, recall {right / len(true):.4f}"
    )


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
        known = with_signatures([f"main-{start + at:07d}" for at in range(count)], programs, 10)
        columns = {
            "id": known.ids,
            "program": known.texts,
            "signature": known.signatures,
            "prompt": known.texts,
        }
        frame = pl.DataFrame(columns).with_columns(
            pl.lit("main").alias("chain"),
            pl.lit(10).alias("shingle_tokens"),
            (pl.col("id") + "-graph").alias("graph_digest"),
        )
        missing = [
            pl.lit(None).cast(kind).alias(name)
            for name, kind in CORPUS.items()
            if name not in frame.columns
        ]
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
    programs = (
        examples[:60]
        + [near_copy(text, 1, at) for at, text in enumerate(examples[60:])]
        + fresh
        + fresh[:20]
    )
    rows = [{"id": f"c-{at:03d}", "index": at, "program": text} for at, text in enumerate(programs)]
    empty = {
        "outcome": "trained",
        "detail": "",
        "parameters": 1,
        "multiply_adds": 1,
        "graph": None,
        "key": "",
    }
    records = [{"id": row["id"], "accuracy": 0.5} | empty for row in rows]
    started = time.perf_counter()
    corpus = read_corpus(sorted(folder.glob("*.parquet")), KNOWN_COLUMNS)
    read = time.perf_counter() - started
    whole, _ = admit(join(rows, records), corpus, DATASET, ADMISSION, NOVELTY)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    outcomes = dict(sorted(whole["outcome"].value_counts().iter_rows()))
    click.echo(
        f"{len(rows)} candidates in {seconds:.1f} s, {read:.1f} s of it reading;"
        f" {peak:.2f} GB; {outcomes}"
    )


if __name__ == "__main__":
    main()
