"""Help for tests that run the workflow itself: a folder of its own, the real Snakemake, the prepared model shared."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import warm_snakemake

ROOT = Path(__file__).parents[2]


def command(folder: Path, *arguments: str) -> list[str]:
    """Return the command of a run in a clone, or of this repository's workflow in another folder."""
    home = folder if (folder / "Snakefile").is_file() else ROOT
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(home / "Snakefile"), "--directory", str(folder)),
        *("--profile", str(home / "profiles" / "local"), *arguments),
    ]


def work_folder(folder: Path, model_folder: Path) -> Path:
    """Make a working directory in which the language model is already prepared."""
    models = folder / "resources" / "models"
    models.mkdir(parents=True)
    (models / model_folder.name).symlink_to(model_folder)
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the workflow to its end."""
    _, _, _, *options = command(folder, *arguments)
    return warm_snakemake.run(folder, options)


def kill_when(ready: Callable[[], object], folder: Path, *arguments: str) -> None:
    """Start Snakemake and kill everything at once as soon as ready() is true: a job is in the middle of its work."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command(folder, *arguments), cwd=folder, start_new_session=True, **streams)
    try:
        while not ready():
            assert started.poll() is None, "the run ended before"
            time.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def contents(folder: Path, patterns: list[str]) -> dict[str, str]:
    """Return path below the folder -> sha256 of the bytes."""
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
