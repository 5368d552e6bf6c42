"""What a site lets one process have: inherited limits, those of its control groups, its processors.

A shell hands its limits on, a login node and a container have theirs, and sbatch carries the
submitting shell's to the node. Where one of them is lower than what a candidate is promised, it
would decide in the program's place.
"""

import contextlib
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from archloop import control_groups
from archloop.control_groups import GROUPS, PROC

# Limit -> (what ulimit calls it, what it is of, bytes in the unit that people say it in).
NAMES = {
    "RLIMIT_CPU": ("-t", "s of processor time", 1),
    "RLIMIT_AS": ("-v", "MB of address space", 2**20),
    "RLIMIT_DATA": ("-d", "MB of data", 2**20),
    "RLIMIT_FSIZE": ("-f", "MB a file", 2**20),
    "RLIMIT_NOFILE": ("-n", "open files", 1),
    "RLIMIT_STACK": ("-s", "MB of stack", 2**20),
    "RLIMIT_NPROC": ("-u", "processes and threads of the user", 1),
}
STACK = 8 * 2**20  # as Linux has it; the C library takes it for the stack of every thread, too


# RLIMIT_* -> its value, None where there is no limit.
Rlimits = dict[str, int | None]


@dataclass(frozen=True)
class SiteLimits:
    """What bounds a process.

    hard: RLIMIT_* -> what the process cannot raise, None where there is no limit. groups: file of
    control groups -> its tightest value. processors: of the machine; affinity: of the process.
    """

    hard: Rlimits
    groups: dict[str, str]
    processors: int | None
    affinity: int


def shortfalls(
    wanted: Mapping[int, int],
    who: str = "a candidate is promised",
    hard: Mapping[str, int | None] | None = None,
) -> list[str]:
    """Return one line for each limit whose hard value is lower than what is wanted of it.

    wanted: resource.RLIMIT_* -> value. hard: as SiteLimits has it, of another node; None looks at
    the calling process.
    """
    hard = hard or hard_limits()
    lines = []
    for name, (option, what, unit) in NAMES.items():
        if name == "RLIMIT_NPROC":  # counts all that the user runs: only starting processes tells
            continue
        # Memory that is mapped is data, too, but for files and what is shared.
        asked = wanted.get(resource.RLIMIT_AS if name == "RLIMIT_DATA" else number_of(name))
        allowed = hard[name]
        if asked is None or allowed is None or allowed >= asked:
            continue

        rounded_up = -(-asked // unit)
        lines.append(
            f"{name} allows {_amount(allowed, unit)} {what}, {who} {rounded_up}: raise it"
            f" (ulimit {option}, where the run is started or submitted)"
        )
    return lines


def number_of(name: str) -> int:
    """Return the number that the kernel knows a limit by: `RLIMIT_CPU` is resource.RLIMIT_CPU."""
    number: int = getattr(resource, name)
    return number


@contextlib.contextmanager
def usual_stack() -> Iterator[None]:
    """Have what is started in the block know a stack of the usual size, whatever the shell says.

    With a large one the threads of a candidate do not fit into its address space, in a small one
    deep calls end it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    usual = STACK if hard == resource.RLIM_INFINITY else min(STACK, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (usual, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def soft_limits() -> Rlimits:
    """Return the limits that bind the calling process now; None where there is none."""
    return _limits(0)


def hard_limits() -> Rlimits:
    """Return the limits that the calling process cannot raise; None where there is none."""
    return _limits(1)


def _limits(index: int) -> Rlimits:
    """Return all limits. index: in what getrlimit gives, 0 for the soft ones, 1 for the hard."""
    limits: Rlimits = {}
    for name in NAMES:
        value = resource.getrlimit(number_of(name))[index]
        limits[name] = None if value == resource.RLIM_INFINITY else value
    return limits


def inherited() -> SiteLimits:
    """Return what bounds the calling process."""
    affinity = len(os.sched_getaffinity(0))
    return SiteLimits(hard_limits(), group_limits(), os.cpu_count(), affinity)


def group_limits(groups: Path = GROUPS, proc: Path = PROC) -> dict[str, str]:
    """Return file of control groups -> its tightest value, as the kernel writes it."""
    limits = control_groups.tightest(groups, proc)
    return {name: limit.text for name, limit in limits.items()}


def of_memory() -> str | None:
    """Return, for a message, what bounds the memory that this process may map; None for nothing."""
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        # The soft limit is what refuses memory.
        allowed = resource.getrlimit(number_of(name))[0]
        if allowed != resource.RLIM_INFINITY:
            option, what, unit = NAMES[name]
            return f"{name} allows {_amount(allowed, unit)} {what}: raise it (ulimit {option})"
    return None


def of_processes() -> str:
    """Return, for a message, what bounds the number of processes and threads here."""
    parts = []
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if hard != resource.RLIM_INFINITY:
        parts.append(f"RLIMIT_NPROC {hard}")

    groups = group_limits()
    if "pids.max" in groups:
        parts.append(f"pids.max {groups['pids.max']}")
    return ", ".join(parts) or "no limit that can be read"


def as_line(limits: SiteLimits) -> str:
    """Return what bounds a process as one line for a person."""
    parts = []
    for name, (_, what, unit) in NAMES.items():
        allowed = limits.hard[name]
        if allowed is not None:
            parts.append(f"{name} {_amount(allowed, unit)} {what}")
    for name in control_groups.FILES:
        if name in limits.groups:
            parts.append(f"{name} {limits.groups[name]}")

    text = "; ".join(parts) or "none"
    return f"{text}; {limits.affinity} of {limits.processors} processors"


def _amount(number: int, unit: int) -> str:
    return str(number // unit) if number >= unit else f"{number / unit:.2g}"
