"""What the preflight asks of a node and what that answers: values that travel as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from archloop.site_limits import SiteLimits


@dataclass(frozen=True)
class Gpu:
    """A GPU that jobs may use; bytes of memory and compute mode are None where nobody says them."""

    name: str
    bytes: int | None
    mode: str | None


@dataclass(frozen=True)
class TrialRequest:
    """How a seed program is to be judged.

    evaluation: section of the settings, the others are of section execution. always: without a
    GPU, too.
    """

    device: str
    isolation: str
    driver_calls: str
    evaluation: dict[str, Any]
    always: bool


@dataclass(frozen=True)
class TrialResult:
    """One judgement of a seed program. trouble: a line that says why there is none, or no good one.

    isolation: the level. All but `trouble` is None where the judge itself did not start.
    """

    trouble: str | None = None
    isolation: str | None = None
    device: str | None = None
    seconds: float | None = None
    outcome: str | None = None
    accuracy: float | None = None

    def as_record(self) -> dict[str, Any]:
        """Return what is known of it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class NodeReport:
    """What a node offers a job.

    isolation: the level that works there, None where none does, which isolation_trouble explains.
    trouble: of writing to the shared or the temporary folder. shares_gpu: whether NVIDIA's MPS
    runs. trial: None where none was asked for. sees_head: whether the node sees a file that the
    head wrote. tmp, free_tmp: its temporary folder, and the bytes that are free there, None where
    nobody says. route: whether there is a way out of the node.
    """

    node: str
    isolation: str | None
    isolation_trouble: str | None
    gpus: list[Gpu]
    limits: SiteLimits
    versions: dict[str, str]
    shares_gpu: bool
    sees_head: bool
    trial: TrialResult | None
    trouble: list[str]
    tmp: str
    free_tmp: int | None
    route: bool


def as_json(report: NodeReport) -> dict[str, Any]:
    """Return a report as plain values."""
    return asdict(report)


def from_json(values: Mapping[str, Any]) -> NodeReport:
    """Return the report that `as_json` gave these values for."""
    trial = values["trial"]
    typed = {
        "gpus": [Gpu(**gpu) for gpu in values["gpus"]],
        "limits": SiteLimits(**values["limits"]),
        "trial": None if trial is None else TrialResult(**trial),
    }
    return NodeReport(**{**values, **typed})
