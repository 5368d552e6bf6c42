"""Clones of the repository with a finished run in them, and changes to them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).parent / "small.yaml"
PARTS = ("Snakefile", "rules", "scripts", "config", "envs", "report", "profiles")


def make_clone(folder: Path, model: Path) -> Path:
    """Make a clone with small.yaml and the model that it names beside its Snakefile."""
    folder.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(SMALL, folder)
    (folder / "model").symlink_to(model)
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a Python program in a clone."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = (sys.executable, *command)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def finish(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Let Snakemake make what there is to make."""
    return run(folder, "-m", "snakemake", "--profile", "profiles/local", "--configfile", "small.yaml", *arguments)


def copy(folder: Path, to: Path) -> Path:
    """Copy a clone with its results and Snakemake's records, times of files included."""
    return Path(shutil.copytree(folder, to, symlinks=True))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new))
