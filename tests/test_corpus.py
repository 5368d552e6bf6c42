"""Corpus files: whole, of this schema and scheme, as they were written, or refused by name and reason."""

import os

import polars as pl
import pytest

from archloop import corpus
from archloop.corpus import CANDIDATES, CORPUS, VERSION, read_corpus, write_candidates, write_corpus
from archloop.errors import InputError
from archloop.shingles import SCHEME

ROWS = pl.DataFrame(
    [
        {"id": f"main-01-{index:04d}", "chain": "main", "cycle": 1, "index": index, "references": ["a", "b"][:index]}
        | {"program": "x = 'é'\n" * index, "accuracy": 0.5 if index else None, "signature": bytes([index]) * 1024}
        | {"shingle_tokens": 10}
        for index in range(3)
    ],
    schema_overrides=CORPUS,
)
ROWS = ROWS.with_columns(
    pl.lit(None).cast(kind).alias(name) for name, kind in CORPUS.items() if name not in ROWS.columns
)
ROWS = ROWS.select(list(CORPUS))


@pytest.fixture
def path(tmp_path):
    write_corpus(ROWS, tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


def rewritten(path, frame) -> None:
    """Write other rows under the metadata that the file had."""
    frame.write_parquet(path, metadata=pl.read_parquet_metadata(path))


@pytest.mark.parametrize("folder", ["[ab]*?", os.fsdecode(b"caf\xe9")])
def test_a_folder_may_have_any_name(tmp_path, folder):
    path = tmp_path / folder / "corpus.parquet"
    write_corpus(ROWS, path)
    assert read_corpus([path]).equals(ROWS)


def test_what_was_written_is_read_again(path):
    assert read_corpus([path]).equals(ROWS)
    assert read_corpus([path, path], ["id", "signature"]).equals(pl.concat([ROWS, ROWS]).select("id", "signature"))
    assert dict(read_corpus([]).schema) == CORPUS


def test_equal_rows_are_equal_bytes(path, tmp_path):
    write_corpus(read_corpus([path]), tmp_path / "again.parquet")
    assert path.read_bytes() == (tmp_path / "again.parquet").read_bytes()


def refused(path, reason) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_corpus([path])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 3, 100, -1])
def test_a_truncated_file_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    refused(path, "no whole parquet file")


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.parquet", "no such file")


def test_a_file_of_another_version_is_refused(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "VERSION", VERSION + 1)
        write_corpus(ROWS, path)
    refused(path, f"schema version {VERSION + 1}, this is {VERSION}")


def test_signatures_of_another_scheme_are_refused(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "SCHEME", SCHEME | {"seed": 7})
        write_corpus(ROWS, path)
    refused(path, "signatures were made with seed 7, not 1")


@pytest.mark.parametrize(
    "edit",
    [
        pl.col("accuracy").fill_null(0.9),
        pl.col("program").str.replace("x", "y"),
        pl.col("references").list.head(0),
        pl.col("cycle") + 1,
        pl.col("signature").first(),
    ],
    ids=str,
)
def test_an_edited_file_is_refused(path, edit):
    rewritten(path, pl.read_parquet(path).with_columns(edit))
    refused(path, "damaged or edited after it was written")


def test_rows_that_were_taken_out_are_noticed(path):
    rewritten(path, pl.read_parquet(path).head(2))
    refused(path, "damaged or edited after it was written")


def test_a_table_of_candidates_is_no_corpus(path):
    whole = ROWS.with_columns(
        pl.lit(None).cast(kind).alias(name) for name, kind in CANDIDATES.items() if name not in CORPUS
    )
    write_candidates(whole, path)
    refused(path, "other columns")


def test_a_parquet_file_of_someone_else_is_refused(path):
    pl.DataFrame({"a": [1]}).write_parquet(path)
    refused(path, "not written by this version")


def test_no_flipped_bit_goes_unnoticed(path):
    whole = path.read_bytes()
    for at in range(0, len(whole), 11):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        with pytest.raises(InputError, match=str(path)):
            read_corpus([path])
