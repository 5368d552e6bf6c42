"""What a job may use of its machine, and how many candidates it judges at once with that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archloop import allocation
from archloop.allocation import SHARED_MB, choose_workers, memory_mb, processors

CORES = len(os.sched_getaffinity(0))


def machine(folder: Path, own: str, files: dict[str, str], available_mb: int = 64_000) -> dict[str, Path]:
    """Write a machine's files: own, the lines of /proc/self/cgroup; files, those of the control groups."""
    places = {"groups": folder / "groups", "proc": folder / "proc"}
    written = {"proc/self/cgroup": own, "proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {available_mb * 1024} kB\n"}
    for name, text in (written | {f"groups/{name}": text for name, text in files.items()}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return places


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/slurm/job", {"slurm/job/cpu.max": "max 100000", "slurm/cpu.max": "150000 100000"}),
        ("0::/outside/of/it", {"cpu.max": "100000 100000"}),
        ("0::/a:b", {"a:b/cpu.max": "100000 100000"}),
        ("3:cpu,cpuacct:/a\n2:memory:/b", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"}),
    ],
)
def test_a_quota_of_the_own_group_or_one_above_bounds_the_processors(tmp_path, own, files):
    assert processors(**machine(tmp_path, own, files)) == 1


def test_without_a_quota_a_job_has_the_processors_of_its_affinity_and_no_more_than_it_was_given(tmp_path):
    places = machine(tmp_path, "0::/\n4:cpu:/", {"cpu.max": "max 100000", "cpu/cpu.cfs_quota_us": "-1"})
    assert processors(**places) == CORES
    assert (processors(1, **places), processors(1000, **places)) == (1, CORES)


def test_the_affinity_is_that_of_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", {0: {3}, 1: {0, 1, 2, 3}}.get)
    assert processors(**machine(tmp_path, "0::/", {})) == 1


def test_memory_is_the_smallest_of_what_is_available_allowed_and_given(tmp_path):
    files = {"memory.max": "max", "job/memory.max": str(9000 * 2**20), "memory/old/memory.limit_in_bytes": str(2**63)}
    places = machine(tmp_path, "0::/job\n9:memory:/old", files, available_mb=12_000)
    assert (memory_mb(**places), memory_mb(8000, **places)) == (9000, 8000)
    assert memory_mb(**machine(tmp_path / "other", "0::/job", {}, available_mb=3000)) == 3000


@pytest.mark.parametrize(
    ("wanted", "threads", "cores", "memory", "gpus", "workers"),
    [
        ("auto", 1, 8, 64_000, 0, 8),
        ("auto", 2, 8, 64_000, 0, 4),
        ("auto", 1, 8, SHARED_MB + 3 * 4000, 0, 3),
        ("auto", 2, 1, 1000, 0, 1),
        ("auto", 1, 8, 64_000, 2, 2),
        (5, 2, 2, 1000, 0, 5),
    ],
)
def test_workers_are_what_processors_and_memory_hold_or_one_a_gpu(wanted, threads, cores, memory, gpus, workers):
    assert choose_workers(wanted, threads, 4000, cores, memory, gpus) == workers


def test_waiting_threads_sleep_whoever_starts_the_program(root):
    code = "import os, archloop; print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])"
    environment = {"PYTHONPATH": str(root / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["1000", "1"], done.stderr


@pytest.mark.parametrize(("asked", "threads"), [(None, "2"), ("8", "2"), ("1", "1"), ("many", "2")])
def test_no_more_threads_are_started_than_a_job_has_processors(monkeypatch, asked, threads):
    monkeypatch.setattr(allocation, "processors", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", {0: {0, 1, 2}}.get)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    allocation.wait_patiently()
    assert os.environ["OMP_NUM_THREADS"] == threads


def test_where_there_are_processors_enough_nobody_names_a_number_of_threads(monkeypatch):
    monkeypatch.setattr(allocation, "processors", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", {0: {0, 1, 2}}.get)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allocation.wait_patiently()
    assert "OMP_NUM_THREADS" not in os.environ


FAULTS = """
import ctypes, resource, sys
from archloop.allocation import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.parametrize("how", ["kept", "given back"])
def test_memory_that_is_freed_is_kept_for_the_next_tensor(root, how):
    environment = os.environ | {"PYTHONPATH": str(root / "scripts")}
    command = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert (int(done.stdout) < 100) is (how == "kept")
