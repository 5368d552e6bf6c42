"""benchmarks/gpu.sh goes on where it was, says what failed, and leaves nothing at work. Its Python is a stand-in."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

PYTHON = """#!/bin/sh
echo "$@" >> {folder}/calls
[ -e {folder}/slow ] && trap '' TERM && sleep 60
exit $(cat {folder}/status)
"""


@pytest.fixture
def script(root, tmp_path):
    """Return a function that starts the script with its phases; status: with which each of their commands ends."""
    python = tmp_path / "python"
    python.write_text(PYTHON.format(folder=tmp_path))
    python.chmod(0o755)

    def start(*phases: str, status: int = 0) -> subprocess.Popen:
        (tmp_path / "status").write_text(str(status))
        own = {"PYTHON": str(python), "WORK": str(tmp_path / "a user's work"), "DEVICE": "cpu"}
        command = ["bash", root / "benchmarks" / "gpu.sh", *phases]
        return subprocess.Popen(command, env=os.environ | own, text=True, stdout=subprocess.PIPE)

    return start


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_a_phase_that_has_passed_is_not_repeated_and_one_that_failed_is(script, tmp_path):
    assert "== compare on cpu: failed (status 3)" in script("compare", status=3).communicate()[0]
    assert "== compare on cpu: passed" in script("compare").communicate()[0]
    assert script("compare").communicate()[0] == "== compare: passed before\n"
    assert len(calls(tmp_path)) == 2


def test_whoever_ends_it_ends_its_phase(script, tmp_path):
    (tmp_path / "slow").touch()
    started = script("compare", "walls")
    while not (tmp_path / "calls").exists():
        assert started.poll() is None
    inside = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 143
    assert psutil.wait_procs(inside, timeout=60)[1] == [] and len(calls(tmp_path)) == 1


def test_a_phase_that_there_is_not_is_named(script):
    assert script("walls?").communicate()[0].startswith("no phase walls?; there are: ")
