"""What the control groups of a process let it have, of version 1 and of version 2.

See cgroups(7). Standard library only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")

CPU_FILES = ("cpu.max", "cpu.cfs_quota_us")  # of version 2 and of version 1
MEMORY_FILES = ("memory.max", "memory.limit_in_bytes")  # likewise
# All that is read, in the order in which a person is told of it.
FILES = ("pids.max", *MEMORY_FILES, *CPU_FILES)
NO_LIMIT = 2**60  # version 1 writes the largest number of pages where there is none
PERIOD_US = 100_000  # of a quota of processor time, where the kernel does not say


@dataclass(frozen=True)
class GroupLimit:
    """A limit of one control group. text: as the kernel writes it.

    amount: processes, bytes, or processors as a share of time.
    """

    file: str
    text: str
    amount: float


def tightest(groups: Path = GROUPS, proc: Path = PROC) -> dict[str, GroupLimit]:
    """Return file -> the tightest limit of this process, in its own groups and those above them.

    groups: where control groups are mounted. proc: where processes are seen.
    """
    limits: dict[str, GroupLimit] = {}
    for folder in _folders(groups, proc):
        for limit in _limits_in(folder):
            known = limits.get(limit.file)
            if known is None or limit.amount < known.amount:
                limits[limit.file] = limit
    return limits


def _folders(groups: Path, proc: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups, and of those above them."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for root in _roots(groups, controllers):
            # In a container the path may be that outside of it; what binds it is then at the root.
            folder = root / path.lstrip("/")
            while folder != root:
                yield folder
                folder = folder.parent
            yield root


def _roots(groups: Path, controllers: str) -> list[Path]:
    """Return where the groups of some controllers begin; those of version 2 have none named."""
    if not controllers:
        return [groups]
    names = controllers.removeprefix("name=")
    # Controllers that share a hierarchy lie under their joined name, mostly under each one's too.
    return [groups / name for name in dict.fromkeys([names, *names.split(",")])]


def _limits_in(folder: Path) -> Iterator[GroupLimit]:
    for name in FILES:
        text = _read(folder / name)
        number, _, period = text.partition(" ")
        if not number.isdecimal() or int(number) >= NO_LIMIT:  # max, -1, or no such file
            continue

        amount = float(number)
        if name in CPU_FILES:
            period = period or _read(folder / "cpu.cfs_period_us")
            has_period = period.isdecimal() and int(period) > 0
            amount /= int(period) if has_period else PERIOD_US
        yield GroupLimit(name, text, amount)


def _read(path: Path) -> str:
    """Return what a file of the kernel says, nothing where it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""
