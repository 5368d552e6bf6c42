"""Corpus shards and candidate tables: parquet with a schema, a scheme of signatures, a digest; checked on reading."""

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from archloop.errors import InputError
from archloop.files import replacing
from archloop.novelty.minhash import SCHEME

VERSION = 5
ROWS_AT_ONCE = 50_000
MARK, BLANK = b"sha256 of the rest: ", b"0" * 64
CHUNK = 2**24

CORPUS = {
    "id": pl.String,
    "family": pl.String,
    "origin": pl.String,
    "chain": pl.String,
    "cycle": pl.Int32,
    "index": pl.Int32,
    "dataset": pl.String,
    "prompt_id": pl.String,
    "prompt": pl.String,
    "references": pl.List(pl.String),
    "program": pl.String,
    "accuracy": pl.Float64,
    "accuracy_sd": pl.Float64,
    "balanced_accuracy": pl.Float64,
    "test_accuracy": pl.Float64,
    "parameters": pl.Int64,
    "multiply_adds": pl.Int64,
    "outcome": pl.String,
    "adapter": pl.String,
    "seed": pl.Int64,
    "evaluation": pl.String,
    "protocol": pl.String,
    "signature": pl.Binary,
    "shingle_tokens": pl.Int16,
    "graph_digest": pl.String,
    "graph_method": pl.String,
}
CANDIDATES = CORPUS | {
    "score": pl.Float64,  # what admission compares with its threshold
    "shard": pl.Int32,
    "hint": pl.String,
    "raw": pl.String,
    "detail": pl.String,
    "prompt_tokens": pl.Int32,
    "new_tokens": pl.Int32,
    "stopped": pl.String,
    "nearest_id": pl.String,
    "nearest_similarity": pl.Float64,
    "nearest_exact": pl.Boolean,
    "nearest_source": pl.String,
    "graph_match_id": pl.String,
    "repeat_of": pl.String,
    "repeat_similarity": pl.Float64,
    "text_digest": pl.String,
}


def write_corpus(frame: pl.DataFrame, path: Path) -> None:
    """Write corpus rows; equal rows give equal bytes."""
    _write(frame, path, CORPUS)


def read_corpus(paths: Iterable[Path], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the rows of the files in their order, all columns or some.

    Raises InputError, naming the file and the reason, for one that is missing, truncated, of another schema or scheme
    of signatures, or that was changed after it was written.
    """
    return _read(paths, CORPUS, columns)


def write_candidates(frame: pl.DataFrame, path: Path) -> None:
    """Write all candidates of a cycle with their verdicts."""
    _write(frame, path, CANDIDATES)


def read_candidates(paths: Iterable[Path], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the candidates of the files in their order; raise InputError as `read_corpus` does."""
    return _read(paths, CANDIDATES, columns)


def _write(frame: pl.DataFrame, path: Path, schema: dict) -> None:
    frame = frame.select(pl.col(name).cast(kind) for name, kind in schema.items())
    facts = {"version": VERSION, "signatures": SCHEME, "rows": frame.height}
    with replacing(path) as temporary:
        with open(
            temporary, "wb"
        ) as opened:  # polars takes brackets in a name for a pattern, and wants UTF-8
            frame.write_parquet(
                opened,
                compression="zstd",
                statistics=False,
                row_group_size=ROWS_AT_ONCE,
                metadata={
                    "archloop": json.dumps(facts, sort_keys=True),
                    "digest": MARK.decode() + BLANK.decode(),
                },
            )
        with open(temporary, "r+b") as opened:
            at, digest, _ = _seal(temporary)
            opened.seek(at)
            opened.write(digest)


def _read(paths: Iterable[Path], schema: dict, columns: Sequence[str] | None) -> pl.DataFrame:
    wanted = list(schema) if columns is None else list(columns)
    frames = [_read_one(Path(path), schema, wanted) for path in paths]
    return (
        pl.concat(frames)
        if frames
        else pl.DataFrame(schema={name: schema[name] for name in wanted})
    )


def _read_one(path: Path, schema: dict, columns: list[str]) -> pl.DataFrame:
    """Read a file whose bytes are those that were written: polars ends the process on some damaged ones."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        at, digest, written = _seal(path)
        if at < 0:
            raise InputError(
                f"{path}: not written by this version of the workflow; delete it and run again"
            )
        if digest != written:
            raise InputError(
                f"{path}: damaged or edited after it was written; delete it and run again"
            )
        with open(path, "rb") as opened:
            _check_facts(path, json.loads(pl.read_parquet_metadata(opened)["archloop"]))
            opened.seek(0)
            if dict(pl.read_parquet_schema(opened)) != schema:
                raise InputError(
                    f"{path}: other columns than a file of version {VERSION} has; delete it and run again"
                )
            opened.seek(0)
            return pl.read_parquet(opened, columns=columns).select(columns)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]})") from None


def _check_facts(path: Path, facts: dict) -> None:
    if facts["version"] != VERSION:
        raise InputError(
            f"{path}: schema version {facts['version']}, this is {VERSION}; delete it and run again"
        )
    differing = [name for name, value in SCHEME.items() if facts["signatures"].get(name) != value]
    if differing:
        name = differing[0]
        raise InputError(
            f"{path}: its signatures were made with {name} {facts['signatures'].get(name)}, not {SCHEME[name]};"
            " delete it and run again"
        )


def _seal(path: Path) -> tuple[int, bytes, bytes]:
    """Return (place of the digest in the file, the digest that belongs there, the one that is there).

    It is the sha256 of the whole file with blanks in its place. A file that has no place for one gives -1; one that
    does not end as parquet does raises InputError.
    """
    with open(path, "rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        whole = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    if size < 12 or whole[:4] != b"PAR1" or whole[-4:] != b"PAR1":
        raise InputError(f"{path}: no whole parquet file; delete it and run again")
    footer = max(0, size - 8 - int.from_bytes(whole[-8:-4], "little"))
    at = whole.find(MARK, footer)
    if at < 0 or at + len(MARK) + len(BLANK) > size:
        return -1, b"", b""
    at += len(MARK)
    digest = hashlib.sha256()
    for start in range(0, at, CHUNK):
        digest.update(whole[start : min(at, start + CHUNK)])
    digest.update(BLANK)
    digest.update(whole[at + len(BLANK) :])
    return at, digest.hexdigest().encode(), whole[at : at + len(BLANK)]
