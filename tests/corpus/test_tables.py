"""Corpus files: whole, of this schema and scheme, as they were written, or refused by name and reason."""

import json
import os
import subprocess
import sys

import polars as pl
import pytest

from archloop.corpus import tables
from archloop.corpus.tables import CANDIDATES, CORPUS, VERSION, read_corpus, write_candidates, write_corpus
from archloop.errors import InputError
from archloop.novelty.signature_scheme import SCHEME

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


# The published format: files that others hold have these columns in this order.
COLUMNS = """id family origin chain cycle index dataset prompt_id prompt references program accuracy accuracy_sd
balanced_accuracy test_accuracy parameters multiply_adds outcome adapter seed evaluation protocol signature
shingle_tokens graph_digest graph_method"""
MORE_COLUMNS = """score shard hint raw detail prompt_tokens new_tokens stopped nearest_id nearest_similarity
nearest_exact nearest_source graph_match_id repeat_of repeat_similarity text_digest"""


def test_the_columns_of_a_file_are_those_of_its_version():
    assert VERSION == 5
    assert " ".join(CORPUS) == " ".join(COLUMNS.split())
    assert " ".join(CANDIDATES) == " ".join((COLUMNS + " " + MORE_COLUMNS).split())
    kinds = {pl.Int16: "shingle_tokens", pl.Int32: "cycle index new_tokens prompt_tokens shard"}
    kinds |= {pl.Int64: "multiply_adds parameters seed", pl.Binary: "signature", pl.Boolean: "nearest_exact"}
    kinds |= {pl.List(pl.String): "references"}
    kinds[pl.Float64] = (
        "accuracy accuracy_sd balanced_accuracy nearest_similarity repeat_similarity score test_accuracy"
    )
    for kind, names in kinds.items():
        assert " ".join(sorted(name for name, each in CANDIDATES.items() if each == kind)) == names


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


def test_what_is_written_says_how_it_was_signed_and_how_many_rows_it_has(path):
    description = json.loads(pl.read_parquet_metadata(path)["archloop"])
    signed = {"library": "datasketch 2.0", "scheme": "affine32", "seed": 1, "permutations": 256, "tokens": 3}
    signed["hash"] = "blake2b-64 of tokens, polynomial 0x9e3779b97f4a7c15, fmix64, upper 32 bits"
    assert description == {"version": 5, "rows": 3, "signatures": signed}


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
        patch.setattr(tables, "VERSION", VERSION + 1)
        write_corpus(ROWS, path)
    refused(path, f"schema version {VERSION + 1}, this is {VERSION}")


@pytest.mark.parametrize("module", ["generation.write_prompts", "lemur.export"])
def test_who_reads_tables_alone_imports_no_numpy(root, module):
    code = f"import sys, archloop.{module}; print({{'numpy', 'torch'}} & {{*sys.modules}})"
    environment = {"PYTHONPATH": str(root / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_signatures_of_another_scheme_are_refused(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tables, "SCHEME", SCHEME | {"seed": 7})
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


def test_a_file_whose_facts_are_no_json_is_refused(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tables.json, "dumps", lambda *_, **__: "no JSON")
        write_corpus(ROWS, path)
    refused(path, r"cannot be read \(Expecting value")


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


def test_a_file_names_its_digest_for_other_readers(path):
    metadata = pl.read_parquet_metadata(path)
    assert {"archloop", "digest"} <= set(metadata)
    assert metadata["digest"].startswith("sha256 of the rest: ") and len(metadata["digest"]) == 20 + 64


def test_a_file_that_begins_otherwise_is_no_whole_one(path):
    path.write_bytes(b"PAR2" + path.read_bytes()[4:])
    with pytest.raises(InputError, match=r"corpus\.parquet: no whole parquet file; delete it and run again"):
        read_corpus([path])
