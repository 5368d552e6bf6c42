"""What the preflight asks of a node and what that answers: values that travel as JSON."""

import json
from dataclasses import asdict, dataclass

from archloop.settings.sections import Evaluation
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
    evaluation: Evaluation
    always: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrialRequest":
        values = json.loads(text)
        values["evaluation"] = Evaluation(**values["evaluation"])
        return cls(**values)


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

    def known(self) -> dict[str, str | float]:
        """Return field -> value of all that is known of it."""
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

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "NodeReport":
        values = json.loads(text)
        values["gpus"] = [Gpu(**gpu) for gpu in values["gpus"]]
        values["limits"] = SiteLimits(**values["limits"])
        if values["trial"] is not None:
            values["trial"] = TrialResult(**values["trial"])
        return cls(**values)
