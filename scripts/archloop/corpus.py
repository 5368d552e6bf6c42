"""Corpus shards and candidate tables: parquet with a schema, a scheme of signatures and digests, checked on reading."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from archloop.errors import InputError
from archloop.files import replacing
from archloop.shingles import SCHEME

VERSION = 2
ROWS_AT_ONCE = 50_000

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
    "protocol": pl.String,
    "signature": pl.Binary,
    "shingle_tokens": pl.Int16,
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
    "graph_match_id": pl.String,
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
    digests = {name: _digest(frame[name]) for name in schema}
    facts = {"version": VERSION, "signatures": SCHEME, "rows": frame.height, "columns": digests}
    with replacing(path) as temporary:
        frame.write_parquet(
            temporary,
            compression="zstd",
            statistics=False,
            row_group_size=ROWS_AT_ONCE,
            metadata={"archloop": json.dumps(facts, sort_keys=True)},
        )


def _read(paths: Iterable[Path], schema: dict, columns: Sequence[str] | None) -> pl.DataFrame:
    wanted = list(schema) if columns is None else list(columns)
    frames = [_read_one(Path(path), schema, wanted) for path in paths]
    return pl.concat(frames) if frames else pl.DataFrame(schema={name: schema[name] for name in wanted})


def _read_one(path: Path, schema: dict, columns: list[str]) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        facts = json.loads(pl.read_parquet_metadata(path).get("archloop", "null"))
        if facts is None:
            raise InputError(f"{path}: not written by this workflow; delete it and run again")
        _check_facts(path, facts)
        if dict(pl.read_parquet_schema(path)) != schema:
            raise InputError(f"{path}: other columns than a file of version {VERSION} has; delete it and run again")
        frame = pl.read_parquet(path, columns=columns, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: no whole parquet file ({' '.join(str(error).split())[:120]}); delete it and run again"
        ) from None
    changed = [name for name in columns if facts["columns"].get(name) != _digest(frame[name])]
    if changed or facts["rows"] != frame.height:
        what = f"its column {changed[0]}" if changed else "its number of rows"
        raise InputError(f"{path}: edited after it was written ({what}); delete it and run again")
    return frame.select(columns)


def _check_facts(path: Path, facts: dict) -> None:
    if facts["version"] != VERSION:
        raise InputError(f"{path}: schema version {facts['version']}, this is {VERSION}; delete it and run again")
    differing = [name for name, value in SCHEME.items() if facts["signatures"].get(name) != value]
    if differing:
        name = differing[0]
        raise InputError(
            f"{path}: its signatures were made with {name} {facts['signatures'].get(name)}, not {SCHEME[name]};"
            " delete it and run again"
        )


def _digest(column: pl.Series) -> str:
    """Return the sha256 of the values of a column, whatever the parquet's encoding."""
    digest = hashlib.sha256()
    for start in range(0, len(column), ROWS_AT_ONCE):
        part = column[start : start + ROWS_AT_ONCE]
        digest.update(part.is_null().to_numpy().tobytes())
        if part.dtype in (pl.String, pl.Binary):
            part = part.cast(pl.Binary).fill_null(b"")
            digest.update(part.bin.size().to_numpy().astype("<u4").tobytes())
            digest.update(b"".join(part.to_list()))
        elif part.dtype == pl.Boolean or part.dtype.is_numeric():
            part = part.fill_null(False if part.dtype == pl.Boolean else 0)
            digest.update(part.to_numpy().tobytes())
        else:
            digest.update(json.dumps(part.to_list()).encode())
    return digest.hexdigest()
