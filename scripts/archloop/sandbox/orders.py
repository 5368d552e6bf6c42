"""What the judge orders of its fork server, and what the supervisor of a candidate reports.

All three are trusted.
"""

import json
from dataclasses import asdict, dataclass

from archloop.sandbox.bounds import Bounds
from archloop.site_limits import Rlimits

# (outcome, reason): how a supervisor ended its candidate.
Ended = tuple[str, str]


@dataclass(frozen=True)
class CardShare:
    """A candidate's share of a card on which several are judged at once."""

    uuid: str  # of the card, or of a part of it (MIG), as torch has it
    memory_mb: int


@dataclass(frozen=True)
class Order:
    """What the judge asks its fork server for: one process, and the sandbox that it runs in."""

    level: str  # isolation level
    bounds: Bounds
    readable: list[str]  # paths that the candidate may read
    hidden: list[str]  # folders below them that nobody sees into
    grants: str  # file with what Landlock lets be read, and what be listed
    base: str  # empty folder of the judge, onto which the new root is mounted
    scratch: str  # the candidate's own folder, where it has none in memory
    device: str  # torch's name of the device that it computes on
    gpu: bool  # whether the sandbox is that of a GPU
    device_files: list[str]  # files of the GPUs in /dev
    log_unlisted: bool  # see seccomp.filter_program
    card: CardShare | None = None  # None: nobody else is judged on its card

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Order":
        values = json.loads(text)
        values["bounds"] = Bounds(**values["bounds"])
        if values["card"] is not None:
            values["card"] = CardShare(**values["card"])
        return cls(**values)


@dataclass(frozen=True)
class SupervisorReport:
    """What a supervisor saw of its candidate.

    error: why there is no verdict, for the machine did not give what a candidate is promised; then
    nothing else counts.
    """

    error: str | None = None
    ended: Ended | None = None  # None: the candidate ended by itself
    status: int = 0  # exit code, or minus the signal that ended it
    cpu_s: float = 0.0
    elapsed_s: float = 0.0
    peak_mb: int = 0
    limits: Rlimits | None = None  # that held

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "SupervisorReport":
        """Return a report; raise ValueError where the text is none, or cut off."""
        values = json.loads(text)
        if values["ended"] is not None:
            values["ended"] = tuple(values["ended"])
        return cls(**values)
