"""Help for tests that run the workflow itself: a folder of its own, the real Snakemake, the prepared model shared."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def command(folder: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *("--profile", str(ROOT / "profiles" / "local"), *arguments),
    ]


def work_folder(folder: Path, model_folder: Path) -> Path:
    """Make a working directory in which the language model is already prepared."""
    models = folder / "resources" / "models"
    models.mkdir(parents=True)
    (models / model_folder.name).symlink_to(model_folder)
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(folder, *arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL)


def kill_in(folder: Path, stage: str, delay_s: float, *arguments: str) -> None:
    """Start Snakemake, wait until the script of `stage` has run for a while, and kill everything at once."""
    started = subprocess.Popen(
        command(folder, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not _running(started.pid, f"{stage}.py"):
            assert started.poll() is None, f"the run ended before {stage}"
            time.sleep(0.1)
        time.sleep(delay_s)
        assert started.poll() is None
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def _running(leader: int, name: str) -> bool:
    for process in psutil.Process(leader).children(recursive=True):
        try:
            if any(part.endswith(name) for part in process.cmdline()[:2]):
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def contents(folder: Path, patterns: list[str]) -> dict[str, str]:
    """Return path below the folder -> sha256 of the bytes."""
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
