"""Corpus shards and candidate tables: parquet with a schema that is checked on reading."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from archloop.errors import InputError
from archloop.files import replacing
from archloop.novelty import SCHEME

VERSION = 1

CORPUS = {
    "id": pl.String,
    "family": pl.String,
    "chain": pl.String,
    "cycle": pl.Int32,
    "index": pl.Int32,
    "dataset": pl.String,
    "prompt_id": pl.String,
    "prompt": pl.String,
    "references": pl.List(pl.String),
    "program": pl.String,
    "accuracy": pl.Float64,
    "parameters": pl.Int64,
    "multiply_adds": pl.Int64,
    "outcome": pl.String,
    "adapter": pl.String,
    "seed": pl.Int64,
    "evaluation": pl.String,
    "signature": pl.Binary,
    "graph_digest": pl.String,
    "graph_method": pl.String,
}
CANDIDATES = CORPUS | {
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
}


def write_corpus(frame: pl.DataFrame, path: Path) -> None:
    """Write corpus rows; equal rows give equal bytes."""
    _write(frame, path, CORPUS)


def read_corpus(paths: Iterable[Path]) -> pl.DataFrame:
    """Return the rows of the files in their order; raise InputError for one that is broken or of another schema."""
    return _read(paths, CORPUS)


def write_candidates(frame: pl.DataFrame, path: Path) -> None:
    """Write all candidates of a cycle with their verdicts."""
    _write(frame, path, CANDIDATES)


def read_candidates(paths: Iterable[Path]) -> pl.DataFrame:
    """Return the candidates of the files in their order; raise InputError as `read_corpus` does."""
    return _read(paths, CANDIDATES)


def _write(frame: pl.DataFrame, path: Path, schema: dict) -> None:
    frame = frame.select(pl.col(name).cast(kind) for name, kind in schema.items())
    facts = {"version": VERSION, "signatures": SCHEME, "rows": frame.height, "content": _content(frame)}
    with replacing(path) as temporary:
        frame.write_parquet(
            temporary, compression="zstd", statistics=False, metadata={"archloop": json.dumps(facts, sort_keys=True)}
        )


def _read(paths: Iterable[Path], schema: dict) -> pl.DataFrame:
    frames = [_read_one(Path(path), schema) for path in paths]
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def _read_one(path: Path, schema: dict) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        facts = json.loads(pl.read_parquet_metadata(path).get("archloop", "null"))
        frame = pl.read_parquet(path, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: no whole parquet file ({' '.join(str(error).split())[:120]}); delete it and run again"
        ) from None
    if facts is None:
        raise InputError(f"{path}: not written by this workflow; delete it and run again")
    if facts["version"] != VERSION:
        raise InputError(f"{path}: schema version {facts['version']}, this is {VERSION}; delete it and run again")
    if facts["signatures"] != SCHEME:
        raise InputError(
            f"{path}: its signatures were made with {facts['signatures']}, not {SCHEME}; delete it and run again"
        )
    if dict(frame.schema) != schema:
        raise InputError(f"{path}: other columns than a file of version {VERSION} has; delete it and run again")
    if facts["content"] != _content(frame):
        raise InputError(f"{path}: edited after it was written; delete it and run again")
    return frame


def _content(frame: pl.DataFrame) -> str:
    """Return a digest of the values, whatever the parquet's encoding."""
    digest = hashlib.sha256()
    for row in frame.iter_rows():
        digest.update(repr(row).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
