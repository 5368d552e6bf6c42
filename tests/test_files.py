"""Files are whole or not there, and a broken one is named."""

import os

import pytest

from archloop.errors import InputError
from archloop.files import read_json, read_jsonl, remove_tree, replacing, write_json, write_jsonl


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "f.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["f.json"]


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [2.5]})
    write_json(tmp_path / "b", {"y": [2.5], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_lines_with_lone_surrogates_and_separators_come_back(tmp_path):
    rows = [{"raw": "a\u2028b\x85c\ud800"}, {"raw": ""}]
    write_jsonl(tmp_path / "f", rows)
    assert read_jsonl(tmp_path / "f") == rows


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_truncated_file_is_named(tmp_path, cut):
    path = tmp_path / "f.jsonl"
    write_jsonl(path, [{"a": 1}, {"b": 2}])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"f\.jsonl"):
        read_jsonl(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")


def test_a_tree_deeper_than_any_path_and_closed_is_deleted_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "kept").write_text("kept")
    folder = tmp_path / "tree"
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "file").touch()
    (folder / "closed").chmod(0)
    (folder / "link").symlink_to(tmp_path)
    monkeypatch.chdir(folder)
    for _ in range(1500):
        os.mkdir("deep")  # noqa: PTH102 (no path is as long)
        os.chdir("deep")
    os.chdir(tmp_path)
    remove_tree(folder)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("text", ["[]\n", "3\n", "null\n", '{"b": 1}\n'])
def test_what_is_no_object_or_lacks_a_key_is_named(tmp_path, text):
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"f\.json"):
        read_json(path, "a")
    with pytest.raises(InputError, match=r"f\.json, line 1"):
        read_jsonl(path, "a")
