"""Python and paths as sites set them up: colons, brackets, spaces, bytes that are no UTF-8, folders left out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_data import write_few_digits

from archloop import python_command
from archloop.errors import InputError
from archloop.evaluation.judge import Judge
from archloop.files import write_json
from archloop.logs import get_logger, start_logging
from archloop.sandbox import isolation

ODD = "run 12:30 [ü] {b}"


@pytest.fixture
def elsewhere(root, tmp_path, monkeypatch) -> Path:
    """The library in a folder whose name means something to PYTHONPATH, shells, globs and formats."""
    library = tmp_path / ODD / "scripts"
    shutil.copytree(root / "scripts" / "archloop", library / "archloop", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(python_command, "LIBRARY", library)
    isolation.obstacle.cache_clear()
    yield library
    isolation.obstacle.cache_clear()


@pytest.mark.parametrize("level", ["namespaces", "bubblewrap"])
def test_isolation_is_tried_wherever_the_library_lies(elsewhere, level):
    if level == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("bwrap is not installed")
    assert isolation.obstacle(level) is None


@pytest.mark.parametrize("level", ["namespaces", "bubblewrap"])
def test_a_module_that_cannot_be_imported_is_no_obstacle_of_the_kernel(elsewhere, level):
    if level == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("bwrap is not installed")
    shutil.rmtree(elsewhere / "archloop")
    with pytest.raises(InputError, match=r"No module named .archloop.*fix the environment"):
        isolation.choose_level("auto" if level == "namespaces" else level)


def test_a_judge_starts_wherever_the_library_lies(elsewhere, tmp_path):
    with Judge(write_few_digits(tmp_path / "digits.safetensors"), "cpu", "none") as judge:
        server = judge.ready_server().process
        assert str(elsewhere) in Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")


def test_a_library_of_the_same_name_in_pythonpath_does_not_come_first(root, tmp_path):
    (tmp_path / "archloop").mkdir()
    (tmp_path / "archloop" / "__init__.py").write_text("raise RuntimeError('another project')")
    command = python_command.run_code("import archloop; print(archloop.__file__)")
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PATH": os.defpath}, capture_output=True, text=True
    )
    assert done.stdout == f"{root}/scripts/archloop/__init__.py\n", done.stderr
    assert command[0] == sys.executable


def test_what_a_terminal_cannot_show_is_escaped(root, tmp_path):
    results = tmp_path / "results"
    write_json(results / "settings.json", {"chains": {"Ä\udcfc": {"cycles": 1}}})
    done = subprocess.run(
        [sys.executable, root / "scripts" / "status.py", "--results", results],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
    )
    assert done.stdout == "chain Ä\\udcfc: 0 of 1 cycles finished\n".encode(), done.stderr


def test_the_log_names_a_file_whose_name_is_no_utf8(tmp_path):
    start_logging(str(tmp_path / "log"))
    get_logger("error").error("error: %s: no image", os.fsdecode(b"caf\xe9.png"))
    assert (tmp_path / "log").read_text().endswith("error: caf\\udce9.png: no image\n")


MODULE = """
settings = {settings!r}

module archloop:
    snakefile: {snakefile!r}
    config: settings

use rule * from archloop as its_*

onstart:
    archloop.onstart()

onerror:
    archloop.onerror()
"""
PARTS = ("Snakefile", "rules", "scripts", "config", "envs", "report")


def test_as_a_module_in_folders_with_odd_names_it_runs_and_explains_what_failed(root, tmp_path, config):
    clone, work = tmp_path / "clone 12:30 [ü]", tmp_path / "work's [a] folder"
    clone.mkdir()
    work.mkdir()
    for name in PARTS:  # a copy: paths are seen from where they are
        subprocess.run(["cp", "-r", root / name, clone], check=True)
    (work / "photos" / "a class of no image").mkdir(parents=True)
    config["data"]["folder"] = "photos"
    config["chains"] = {"seed": {"dataset": "folder"}, "drawn": {"dataset": "folder", "cycles": 1}}
    config["chains"]["drawn"]["source"] = "families"
    (work / "Snakefile").write_text(MODULE.format(settings=config, snakefile=str(clone / "Snakefile")))
    target = "resources/datasets/folder.safetensors"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target]
    # As `module load` leaves it after the environment was activated: another Python comes first.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nexit 97\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, env=os.environ | {"PATH": path})
    said = done.stderr.partition("failed: ")[2].splitlines()
    assert said[0].startswith(f"its_prepare_dataset, which makes {target} (1 attempt): "), done.stderr[-3000:]
    assert "photos" in said[0]
    assert said[1] == "  log: logs/prepare/folder.log"
