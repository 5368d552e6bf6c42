"""A clone of the repository with a finished run of tests/test.yaml in it, copies of it, and changes to them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import warm_snakemake
import yaml
from benchmark_modules import load

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "rules", "scripts", "config", "envs", "report", "profiles")
SETTINGS = "small.yaml"


def small_settings() -> dict:
    """Return the settings of tests/test.yaml, with the model that lies in the clone already."""
    settings = yaml.safe_load((ROOT / "tests" / "test.yaml").read_text())
    return settings | {"model": {"name": "tiny", "reference": "folder:model"}}


def shipped(*names: str) -> dict:
    """Return the settings of files in config/, each laid over those before it as Snakemake does."""
    return load("cost").laid_over(names)


def make_clone(folder: Path, model: Path) -> Path:
    """Make a clone with its settings in small.yaml and the model that they name beside its Snakefile."""
    folder.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    (folder / SETTINGS).write_text(yaml.safe_dump(small_settings()))
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
    """Let Snakemake make what there is to make; what it said is in terminal.txt."""
    options = ["--profile", "profiles/local", "--configfile", SETTINGS, *arguments]
    done = warm_snakemake.run(folder, options)
    (folder / "terminal.txt").write_text(done.stdout + done.stderr)
    return done


def copy(folder: Path, to: Path) -> Path:
    """Copy a clone with its results and Snakemake's records, times of files included."""
    return Path(shutil.copytree(folder, to, symlinks=True))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new))
