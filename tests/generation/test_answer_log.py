"""What a job has finished: on the disk at once, and kept for the same job alone."""

import os

import pytest

from archloop.errors import InputError
from archloop.generation.answer_log import answer_log


def keep(path, key, *rows) -> list[dict]:
    """Add rows; return those that were there."""
    with answer_log(path, key) as (earlier, add):
        for row in rows:
            add(row)
    return earlier


def test_what_was_added_is_there_for_the_same_key_and_gone_for_another(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    assert keep(path, "k", {"b": 2, "a": 1}) == []
    assert keep(path, "k", {"c": "é"}) == [{"b": 2, "a": 1}]
    assert path.read_text() == '{"key": "k"}\n{"a": 1, "b": 2}\n{"c": "\\u00e9"}\n'
    assert keep(path, "k") == [{"b": 2, "a": 1}, {"c": "é"}]
    assert keep(path, "other") == []
    assert path.read_text() == '{"key": "other"}\n'


@pytest.mark.parametrize(("cut", "left"), [(1, 1), (6, 1), (9, 1), (10, 1), (11, 0)])
def test_a_last_line_that_was_cut_counts_for_nothing(tmp_path, cut, left):
    path = tmp_path / "rows.jsonl"
    keep(path, "k", {"a": 100}, {"b": 20})
    path.write_bytes(path.read_bytes()[:-cut])
    assert keep(path, "k", {"c": 3}) == [{"a": 100}][:left]
    assert keep(path, "k") == [*[{"a": 100}][:left], {"c": 3}]


@pytest.mark.parametrize("text", ["", "\n", "no json\n", '{"key": "k"}\nNaN\n', "[]\n", '{"a": 1}\n'])
def test_a_file_that_is_no_answer_log_holds_nothing(tmp_path, text):
    (tmp_path / "rows.jsonl").write_text(text)
    assert keep(tmp_path / "rows.jsonl", "k") == []


def test_a_row_is_on_the_disk_when_it_was_added(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    with answer_log(tmp_path / "rows.jsonl", "k") as (_, add):
        monkeypatch.setattr(os, "fsync", lambda file: synced.append(file) or real(file))
        add({"b": 2, "a": 1})
        assert len(synced) == 1 and (tmp_path / "rows.jsonl").read_text().endswith('\n{"a": 1, "b": 2}\n')


def test_a_row_that_is_no_json_is_refused(tmp_path):
    with answer_log(tmp_path / "rows.jsonl", "k") as (_, add), pytest.raises(ValueError, match="not JSON compliant"):
        add({"a": float("nan")})


def test_a_full_disk_is_said_in_one_line_with_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with answer_log(tmp_path / "rows.jsonl", "k") as (_, add):
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"rows\.jsonl: No space left on device"):
            add({"a": 1})
