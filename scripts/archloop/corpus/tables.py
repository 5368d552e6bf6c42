"""Corpus shards and candidate tables: parquet with a schema, a scheme of signatures, a checksum."""

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from archloop.errors import InputError
from archloop.files import replacing
from archloop.novelty.signature_scheme import SCHEME

VERSION = 5
ROWS_AT_ONCE = 50_000
# Where the checksum stands in the file, and what stands there while it is computed.
MARK = b"sha256 of the rest: "
BLANK = b"0" * 64
CHUNK = 2**24
# What parquet files begin and end with; before the last one is the length of the footer.
MAGIC = b"PAR1"
SMALLEST_FILE = 12
REMEDY = "; delete it and run again"

Schema = dict[str, DataType | DataTypeClass]
CORPUS: Schema = {
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
CANDIDATES: Schema = CORPUS | {
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


class Description(TypedDict):
    """What a file says of itself. signatures: the scheme that they were made by."""

    version: int
    signatures: Mapping[str, str | int]
    rows: int


def frame_of(rows: Iterable[Mapping[str, object]], schema: Schema) -> pl.DataFrame:
    """Return rows as a table; what a row lacks is null, what no column holds is left out."""
    cells = []
    for row in rows:
        cells.append({name: _storable(row.get(name)) for name in schema})
    return pl.DataFrame(cells, schema=schema)


def _storable(value: object) -> object:
    """Return a value as a table holds it: text that is no UTF-8 with escapes."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "backslashreplace").decode()


def write_corpus(frame: pl.DataFrame, path: Path) -> None:
    """Write corpus rows; equal rows give equal bytes."""
    _write(frame, path, CORPUS)


def read_corpus(paths: Iterable[Path], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the rows of the files in their order, all columns or some.

    Raises InputError, naming the file and the reason, for one that is missing, truncated, of
    another schema or scheme of signatures, or that was changed after it was written.
    """
    return _read(paths, CORPUS, columns)


def write_candidates(frame: pl.DataFrame, path: Path) -> None:
    """Write all candidates of a cycle with their verdicts."""
    _write(frame, path, CANDIDATES)


def read_candidates(paths: Iterable[Path], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the candidates of the files in their order; raise InputError as `read_corpus` does."""
    return _read(paths, CANDIDATES, columns)


def _write(frame: pl.DataFrame, path: Path, schema: Schema) -> None:
    columns = [pl.col(name).cast(kind) for name, kind in schema.items()]
    frame = frame.select(columns)
    description: Description = {"version": VERSION, "signatures": SCHEME, "rows": frame.height}
    metadata = {
        "archloop": json.dumps(description, sort_keys=True),
        "digest": MARK.decode() + BLANK.decode(),
    }
    with replacing(path) as temporary:
        # By a file: polars takes brackets in a name for a pattern, and wants UTF-8.
        with open(temporary, "wb") as opened:
            frame.write_parquet(
                opened,
                compression="zstd",
                statistics=False,
                row_group_size=ROWS_AT_ONCE,
                metadata=metadata,
            )

        # Over the blanks of the metadata: a file cannot hold a digest of itself otherwise.
        with open(temporary, "r+b") as opened:
            position, checksum, _ = _checksum(temporary)
            opened.seek(position)
            opened.write(checksum)


def _read(paths: Iterable[Path], schema: Schema, columns: Sequence[str] | None) -> pl.DataFrame:
    wanted = list(schema) if columns is None else list(columns)
    frames = [_read_one(Path(path), schema, wanted) for path in paths]
    if frames:
        return pl.concat(frames)

    # No rows, of the right columns.
    return pl.DataFrame(schema={name: schema[name] for name in wanted})


def _read_one(path: Path, schema: Schema, columns: list[str]) -> pl.DataFrame:
    """Read a file whose bytes are those that were written.

    On some damaged ones polars would end the process.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        _check_checksum(path)
        with open(path, "rb") as opened:
            _check_description(path, json.loads(pl.read_parquet_metadata(opened)["archloop"]))
            opened.seek(0)
            if dict(pl.read_parquet_schema(opened)) != schema:
                raise InputError(
                    f"{path}: other columns than a file of version {VERSION} has{REMEDY}"
                )

            opened.seek(0)
            return pl.read_parquet(opened, columns=columns).select(columns)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read ({why})") from None


def _check_checksum(path: Path) -> None:
    position, checksum, written = _checksum(path)
    if position < 0:
        raise InputError(f"{path}: not written by this version of the workflow{REMEDY}")
    if checksum != written:
        raise InputError(f"{path}: damaged or edited after it was written{REMEDY}")


def _check_description(path: Path, description: Description) -> None:
    version, signatures = description["version"], description["signatures"]
    if version != VERSION:
        raise InputError(f"{path}: schema version {version}, this is {VERSION}{REMEDY}")
    for name, value in SCHEME.items():
        if signatures.get(name) != value:
            raise InputError(
                f"{path}: its signatures were made with {name} {signatures.get(name)}, not"
                f" {value}{REMEDY}"
            )


def _checksum(path: Path) -> tuple[int, bytes, bytes]:
    """Return (position of the checksum in the file, the one that belongs there, the one there).

    It is the sha256 of the whole file with blanks in its position. A file that has no room for one
    gives -1; one that does not end as parquet does raises InputError.
    """
    with open(path, "rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        if size < SMALLEST_FILE:
            raise InputError(f"{path}: no whole parquet file{REMEDY}")
        whole = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)

    if whole[:4] != MAGIC or whole[-4:] != MAGIC:
        raise InputError(f"{path}: no whole parquet file{REMEDY}")

    # Parquet ends with the length of its footer, in four bytes, and the magic.
    footer_bytes = int.from_bytes(whole[-8:-4], "little")
    footer = max(0, size - 8 - footer_bytes)
    mark = whole.find(MARK, footer)
    start = mark + len(MARK)
    end = start + len(BLANK)
    if mark < 0 or end > size:
        return -1, b"", b""

    digest = hashlib.sha256()
    for begin in range(0, start, CHUNK):
        digest.update(whole[begin : min(start, begin + CHUNK)])
    digest.update(BLANK)
    digest.update(whole[end:])
    return start, digest.hexdigest().encode(), whole[start:end]
