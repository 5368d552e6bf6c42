"""What a candidate may read: nothing of the user's, and no data set."""

import sys
from pathlib import Path

import pytest

from archloop.errors import InputError
from archloop.sandbox.readable_files import check_hidden, readable_paths


def test_what_a_candidate_may_read_holds_neither_the_home_nor_the_folder_it_was_started_in(monkeypatch, tmp_path):
    home, repository = tmp_path / "home", tmp_path / "home" / "repository"
    (repository / "lib").mkdir(parents=True)
    (home / "lib").mkdir()
    monkeypatch.chdir(repository)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LD_LIBRARY_PATH", f":.:lib:{tmp_path}:{home}/:{home}:{home}/repository/..:/:{home}/lib")
    monkeypatch.setattr(sys, "prefix", str(repository))  # python -m venv .
    paths = readable_paths()
    own = {path for path in paths if path.startswith(str(tmp_path))}
    assert own == {str(home / "lib"), str(repository / "lib")}
    assert all(Path(path).is_absolute() for path in paths) and "/" not in paths


def test_data_that_candidates_could_read_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
    (tmp_path / "lib").mkdir()
    check_hidden(tmp_path / "digits.safetensors")
    with pytest.raises(InputError, match="may read"):
        check_hidden(tmp_path / "lib" / "digits.safetensors")
