"""What a candidate may read: nothing of the user's, and no data set."""

import os
import pwd
import site
import sys
from pathlib import Path
from types import SimpleNamespace

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
    below_home = {path for path in paths if path.startswith(str(tmp_path))}
    assert below_home == {str(home / "lib"), str(repository / "lib")}
    assert all(Path(path).is_absolute() for path in paths) and "/" not in paths


def test_a_candidate_may_read_the_systems_libraries_by_both_names_and_where_packages_are_installed(
    monkeypatch, tmp_path
):
    for name in ("site", "site-packages", "dist-packages", "mine", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "link-to-site-packages").symlink_to("linked")
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path / "site")])
    names = ("site-packages", "mine", "dist-packages", "link-to-site-packages")
    monkeypatch.setattr(sys, "path", [str(tmp_path / name) for name in names])
    paths = readable_paths()
    below_home = {Path(path).name for path in paths if path.startswith(str(tmp_path))}
    assert below_home == {"site", "site-packages", "dist-packages", "link-to-site-packages", "linked"}
    system = [path for path in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache") if os.path.lexists(path)]
    assert {*system, *map(os.path.realpath, system)} <= {*paths}


def test_the_home_is_the_one_that_the_user_has_too_and_a_user_without_a_name_is_none(monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", "/nowhere/at/all")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "home"))
    monkeypatch.setattr(pwd, "getpwuid", lambda number: SimpleNamespace(pw_dir=str(tmp_path / "home")))
    assert str(tmp_path / "home") not in readable_paths()

    def nobody(number: int):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert str(tmp_path / "home") in readable_paths()
    (tmp_path / "link").symlink_to("home")
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    assert str(tmp_path / "home") not in readable_paths()


def test_data_that_candidates_could_read_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
    (tmp_path / "lib").mkdir()
    check_hidden(tmp_path / "digits.safetensors")
    with pytest.raises(InputError, match="may read"):
        check_hidden(tmp_path / "lib" / "digits.safetensors")
