"""What a site lets one process have: limits that are inherited, those of its control groups, and its processors.

A shell hands its limits on, a login node and a container have theirs, and sbatch carries the submitting shell's to the
node. Where one of them is lower than what a candidate is promised, it would decide in the program's place.
"""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
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
# Files of control groups, of version 2 and of version 1, and what they bound.
GROUP_FILES = {
    "pids.max": "pids",
    "memory.max": "memory",
    "memory.limit_in_bytes": "memory",
    "cpu.max": "cpu",
}
GROUP_FILES |= {"cpu.cfs_quota_us": "cpu"}
STACK = 8 * 2**20  # as Linux has it; the C library takes it for the stack of every thread, too
NO_LIMIT = 2**60  # version 1 writes the largest number of pages where there is none


def shortfalls(
    wanted: dict[int, int],
    who: str = "a candidate is promised",
    found: dict[str, object] | None = None,
) -> list[str]:
    """Return one line for each limit (resource.RLIMIT_*) whose hard value is lower than what is wanted of it.

    found: what `inherited` found, on another node; None looks at the calling process.
    """
    found, lines = found or hard_limits(), []
    for name, (option, what, unit) in NAMES.items():
        limit = getattr(resource, name)
        # Memory that is mapped is data, too, but for files and what is shared.
        asked = wanted.get(resource.RLIMIT_AS if name == "RLIMIT_DATA" else limit)
        hard = found[name]
        if name == "RLIMIT_NPROC" or asked is None or hard is None or hard >= asked:
            continue  # processes are counted with all that the user runs: only starting them tells
        lines.append(
            f"{name} allows {_amount(hard, unit)} {what}, {who} {-(-asked // unit)}: raise it (ulimit {option}, "
            "where the run is started or submitted)"
        )
    return lines


@contextlib.contextmanager
def usual_stack() -> Iterator[None]:
    """Have what is started in the block know a stack of the usual size, whatever the shell handed on.

    With a large one the threads of a candidate do not fit into its address space, in a small one deep calls end it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(
        resource.RLIMIT_STACK, (STACK if hard == resource.RLIM_INFINITY else min(STACK, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def holding() -> dict[str, int | None]:
    """Return the limits (soft ones, which bind) that the calling process is under; None where there is none."""
    return _each(0)


def hard_limits() -> dict[str, int | None]:
    """Return the limits that the calling process cannot raise; None where there is none."""
    return _each(1)


def _each(place: int) -> dict[str, int | None]:
    found = {name: resource.getrlimit(getattr(resource, name))[place] for name in NAMES}
    return {
        name: None if value == resource.RLIM_INFINITY else value for name, value in found.items()
    }


def inherited() -> dict[str, object]:
    """Return what bounds the calling process: RLIMIT_* (hard), files of control groups, processors and affinity."""
    return (
        hard_limits()
        | group_limits()
        | {"processors": os.cpu_count(), "affinity": len(os.sched_getaffinity(0))}
    )


def group_limits(groups: Path = GROUPS, own: Path = OWN_GROUP) -> dict[str, str]:
    """Return the tightest value of each file of GROUP_FILES from this process's control groups up to their roots."""
    found: dict[str, str] = {}
    try:
        lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = groups / controllers.removeprefix("name=")
        place = root / path.lstrip("/")
        for folder in (place, *place.parents):
            if folder == groups or not folder.is_relative_to(groups):
                break
            _read_limits(folder, found)
        _read_limits(root, found)  # in a container what binds it lies at the root
    return found


def _read_limits(folder: Path, found: dict[str, str]) -> None:
    for name in GROUP_FILES:
        try:
            text = (folder / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        first = text.split()[0] if text else "max"
        unlimited = first == "max" or int(first) < 0 or int(first) >= NO_LIMIT
        if not unlimited and (name not in found or int(first) < int(found[name].split()[0])):
            found[name] = text


def of_memory() -> str | None:
    """Return, for a message, what bounds the memory that this process may map; None where nothing does."""
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        allowed = resource.getrlimit(getattr(resource, name))[0]
        if allowed != resource.RLIM_INFINITY:
            option, what, unit = NAMES[name]
            return f"{name} allows {_amount(allowed, unit)} {what}: raise it (ulimit {option})"
    return None


def _amount(number: int, unit: int) -> str:
    return str(number // unit) if number >= unit else f"{number / unit:.2g}"


def of_processes() -> str:
    """Return, for a message, what bounds the number of processes and threads here."""
    hard, groups = resource.getrlimit(resource.RLIMIT_NPROC)[1], group_limits()
    parts = [] if hard == resource.RLIM_INFINITY else [f"RLIMIT_NPROC {hard}"]
    parts += [f"pids.max {groups['pids.max']}"] if "pids.max" in groups else []
    return ", ".join(parts) or "no limit that can be read"


def line(facts: dict) -> str:
    """Return what `inherited` found as one line for a person."""
    parts = []
    for name, (_, what, unit) in NAMES.items():
        if facts[name] is not None:
            parts.append(f"{name} {_amount(facts[name], unit)} {what}")
    parts += [f"{name} {facts[name]}" for name in GROUP_FILES if name in facts]
    text = "; ".join(parts) or "none"
    return f"{text}; {facts['affinity']} of {facts['processors']} processors"
