"""What a job may use of its machine: processors and memory, and how many candidates it judges at once with them.

A machine has more of both than a job: SLURM, a container or the user bound it by affinity, by control groups, or by
what is left. Standard library only.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

GROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
# A judge's own process and its server, which every candidate shares, in MB.
SHARED_MB = 2000
# Threads that wait in a busy loop slow down all that run beside them; after a short spin they sleep.
PATIENT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}

# glibc's mallopt, by the numbers in malloc.h: no block apart from the heap (M_MMAP_MAX), none of the heap given back
# (M_TRIM_THRESHOLD), which grows by this many bytes at once (M_TOP_PAD).
KEEP = {-4: 0, -1: 2**31 - 1, -2: 2**26}


def wait_patiently() -> None:
    """Bound how long OpenMP's threads wait in a busy loop, and their number; to be called before torch is imported."""
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    # OpenMP knows the affinity of a process, not the quota of its control group.
    asked, here = os.environ.get("OMP_NUM_THREADS", ""), processors()
    started = int(asked) if asked.isdecimal() else len(os.sched_getaffinity(0))
    if started > here:
        os.environ["OMP_NUM_THREADS"] = str(here)


def keep_freed_memory() -> None:
    """Let the C library keep the memory that torch frees on processors, for the next tensor of that size.

    By default glibc gives every large block back at once, and each new one costs a fault a page. Where it is another
    library, nothing happens. No result changes.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in KEEP.items():
            mallopt(option, value)


def processors(asked: int | None = None, groups: Path = GROUPS, proc: Path = PROC) -> int:
    """Return how many processors this process may use: its affinity and the quotas of its control groups, at least 1.

    asked: what the job was given by whoever started it; None is no bound.
    """
    bounds = [len(os.sched_getaffinity(0)), *_quotas(groups, proc)]
    bounds += [] if asked is None else [asked]
    return max(1, int(min(bounds)))


def memory_mb(asked: int | None = None, groups: Path = GROUPS, proc: Path = PROC) -> int:
    """Return the memory that this process may still take, in MB: what is available, and what its control groups allow.

    asked: memory of the whole job in MB, where it was allocated; None is no bound.
    """
    available = re.search(r"^MemAvailable:\s+(\d+) kB", _read(proc / "meminfo"), re.MULTILINE)
    bounds = [int(available[1]) // 1024] if available else []
    bounds += [size // 2**20 for size in _memory_limits(groups, proc)]
    bounds += [] if asked is None else [asked]
    return min(bounds, default=SHARED_MB)


def choose_workers(
    wanted: int | str, threads: int, each_mb: int, cores: int, memory: int, gpus: int
) -> int:
    """Return how many candidates are judged at once.

    wanted: execution.workers. threads, each_mb: of one candidate. cores, memory (MB): of the job.
    gpus: that it deals out, 0 on processors. `auto` is one for each GPU, or as many as processors and
    memory hold, at least one.
    """
    if wanted != "auto":
        return wanted
    if gpus:
        return gpus
    return max(1, min(cores // threads, (memory - SHARED_MB) // each_mb))


def _own_groups(groups: Path, proc: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it: of version 2, or of one controller."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = groups / controller if names else groups
        # In a container the path may be that outside of it; what binds it is then at the root.
        place = root / path.lstrip("/")
        while place != root:
            yield place
            place = place.parent
        yield root


def _quotas(groups: Path, proc: Path) -> Iterator[float]:
    """Yield processors that control groups allow, as a fraction of time."""
    for folder in _own_groups(groups, proc, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _memory_limits(groups: Path, proc: Path) -> Iterator[int]:
    """Yield the bytes that control groups allow."""
    for folder in _own_groups(groups, proc, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read(folder / name)
            if limit.isdecimal():
                yield int(limit)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
