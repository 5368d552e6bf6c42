"""benchmarks/gpu.sh goes on where it was and says what failed; gpu_compare.py says whether two runs agree."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from benchmark_modules import load

from archloop.files import write_json, write_text

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
    started = script("compare", "isolation")
    while not (tmp_path / "calls").exists():
        assert started.poll() is None
    inside = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 143
    assert psutil.wait_procs(inside, timeout=60)[1] == [] and len(calls(tmp_path)) == 1


def test_a_phase_that_there_is_not_is_named(script):
    assert script("isolated").communicate()[0].startswith("no phase isolated; there are: ")
    assert script("").communicate()[0].startswith("no phase ; there are: ")


def test_no_phase_begins_where_one_is_not_there(script, tmp_path):
    assert script("compare", "isolated").communicate()[0].startswith("no phase isolated; there are: ")
    assert not (tmp_path / "calls").exists()


def test_no_phase_begins_where_nothing_can_be_kept(script, tmp_path):
    (tmp_path / "a user's work").touch()
    assert script("compare").communicate()[0] == "" and not (tmp_path / "calls").exists()


def run_of(folder: Path, seconds: str, accuracies: dict[str, float], admitted: list[int]) -> Path:
    """Write what is compared of a run: a job's benchmark, the seed programs' scores, summaries of cycles."""
    write_text(folder / "logs" / "seed" / "evaluate-0.tsv", f"s\th:m:s\n{seconds}\t0:00:05\n")
    records = [{"id": name, "outcome": "trained", "accuracy": value} for name, value in accuracies.items()]
    records.append({"id": "broken", "outcome": "forward", "accuracy": None})
    write_json(folder / "results" / "seed" / "evaluated" / "0.json", {"records": records})
    for cycle, count in enumerate(admitted, start=1):
        write_json(folder / "results" / "main" / f"cycle-{cycle}" / "summary.json", {"yield": {"count": count}})
    return folder


@pytest.mark.parametrize(
    ("accuracies", "admitted", "status"),
    [
        ({"a": 0.56, "b": 0.46}, [1, 0], 0),
        ({"a": 0.6, "b": 0.52}, [1, 0], 1),
        ({"a": 0.5}, [1, 0], 1),
        ({"a": 0.5, "b": 0.5}, [0, 0], 1),
        ({"a": 0.5, "b": 0.5}, [1], 1),
    ],
)
def test_a_device_agrees_where_the_mean_over_the_seed_programs_does(tmp_path, accuracies, admitted, status):
    compare = load("gpu_compare").main
    reference = run_of(tmp_path / "reference", "9.0", {"a": 0.5, "b": 0.5}, [2, 2])
    assert compare(run_of(tmp_path / "device", "5.0", accuracies, admitted), reference) == status


def test_two_runs_are_compared_stage_by_stage(tmp_path, capsys):
    reference = run_of(tmp_path / "reference", "9.0", {"a": 0.5, "b": 0.5}, [2, 2])
    load("gpu_compare").main(run_of(tmp_path / "device", "5.0", {"a": 0.6, "b": 0.46}, [1, 0]), reference)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["evaluate", "5.0", "9.0"]
    assert lines[2] == "seed programs: 2, mean accuracy off by 0.0300 (0.05 allowed), one by 0.1000 at most"
    assert lines[3] == "admitted by cycle: [1, 0] and [2, 2]"
