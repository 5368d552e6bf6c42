"""What a job may use of its machine, and how many candidates it judges at once with that.

A machine has more of both than a job: SLURM, a container or the user bound it by affinity, by
control groups, or by what is left. Standard library only.
"""

import contextlib
import os
import re
from pathlib import Path

from archloop import control_groups
from archloop.control_groups import GROUPS, PROC

# A judge's own process and its server, which every candidate shares, in MB.
SHARED_MB = 2000
# Threads that wait in a busy loop slow down all that run beside them; after a short spin they
# sleep.
PATIENT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}

# glibc's mallopt, by the numbers in malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
# No block apart from the heap, none of the heap given back, which grows by this many bytes at once.
KEEP = {
    M_MMAP_MAX: 0,
    M_TRIM_THRESHOLD: 2**31 - 1,
    M_TOP_PAD: 2**26,
}


def wait_patiently() -> None:
    """Bound the number of OpenMP's threads and how long they wait in a busy loop.

    To be called before torch is imported.
    """
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)

    # OpenMP knows the affinity of a process, not the quota of its control group.
    threads = len(os.sched_getaffinity(0))
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal():
        threads = int(chosen)
    available = processors()
    if threads > available:
        os.environ["OMP_NUM_THREADS"] = str(available)


def keep_freed_memory() -> None:
    """Let the C library keep memory that torch frees, for the next tensor of that size.

    By default glibc gives every large block back at once, and each new one costs a fault a page.
    Where it is another library, nothing happens. No result changes.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in KEEP.items():
            mallopt(option, value)


def processors(allocated: int | None = None, groups: Path = GROUPS, proc: Path = PROC) -> int:
    """Return how many processors this process may use, at least 1.

    They are bounded by its affinity and the quotas of its control groups. allocated: what the job
    was given by whoever started it; None is no bound.
    """
    bounds: list[float] = [len(os.sched_getaffinity(0))]
    limits = control_groups.tightest(groups, proc)
    for name in control_groups.CPU_FILES:
        if name in limits:
            bounds.append(limits[name].amount)

    if allocated is not None:
        bounds.append(allocated)
    return max(1, int(min(bounds)))


def memory_mb(allocated: int | None = None, groups: Path = GROUPS, proc: Path = PROC) -> int:
    """Return the memory that this process may still take, in MB.

    It is bounded by what is available and what its control groups allow. allocated: memory of the
    whole job in MB, where it was given any; None is no bound.
    """
    bounds = []
    limits = control_groups.tightest(groups, proc)
    for name in control_groups.MEMORY_FILES:
        if name in limits:
            bounds.append(int(limits[name].text) // 2**20)

    with contextlib.suppress(OSError):
        text = (proc / "meminfo").read_text(encoding="utf-8")
        available = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
        if available:
            bounds.append(int(available[1]) // 1024)
    if allocated is not None:
        bounds.append(allocated)
    return min(bounds, default=SHARED_MB)


def choose_workers(
    wanted: int | str, threads: int, candidate_mb: int, cores: int, memory: int, gpus: int
) -> int:
    """Return how many candidates are judged at once.

    wanted: execution.workers. threads, candidate_mb: of one candidate. cores, memory (MB): of the
    job. gpus: that it deals out, 0 on processors. `auto` is one for each GPU, or as many as
    processors and memory hold, at least one.
    """
    if isinstance(wanted, int):
        return wanted
    if gpus:
        return gpus

    by_processors = cores // threads
    by_memory = (memory - SHARED_MB) // candidate_mb
    return max(1, min(by_processors, by_memory))
