"""What is said of a candidate, from the order to train it to the record on disk, as types."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TypedDict

from archloop.novelty.graph_record import GraphRecord
from archloop.settings.sections import Evaluation
from archloop.site_limits import Rlimits

# What goes into the records of a shard: all that the program, the protocol, the data and the seed
# determine (on a CPU).
FIELDS = (
    "outcome",
    "detail",
    "parameters",
    "multiply_adds",
    "accuracy",
    "accuracy_sd",
    "test_accuracy",
    "epochs",
    "balanced_accuracy",
    "losses",
    "graph",
    "log",
)


class Epoch(TypedDict, total=False):
    """An epoch of a training. accuracy: on the validation split, once the predictions have met its
    labels.
    """

    repeat: int
    loss: float | None
    train_accuracy: float | None
    accuracy: float


class Record(TypedDict, total=False):
    """What became of a candidate: the FIELDS, what was measured on the way, and what the judge went
    by.
    """

    outcome: str
    detail: str | None
    parameters: int | None
    multiply_adds: int | None
    accuracy: float | None
    accuracy_sd: float | None
    test_accuracy: float | None
    balanced_accuracy: float | None
    epochs: list[Epoch] | None
    losses: list[float] | None
    graph: GraphRecord | None
    log: str | None

    seconds: dict[str, float]  # by stage
    cpu_s: float
    peak_mb: int
    limits: Rlimits | None
    isolation: str
    format: str  # of numbers and memory

    protocol: Mapping[str, object]  # section evaluation as it held, as JSON
    seed: int
    device: str
    versions: dict[str, str]


def unjudged(outcome: str, detail: str) -> Record:
    """Return the record of a program that was not run, or gave no result: its outcome, and nothing
    else.
    """
    record: Record = {"outcome": outcome, "detail": detail}
    for name in FIELDS:
        record.setdefault(name, None)  # type: ignore[misc]
    return record


@dataclass(frozen=True)
class TrainingRequest:
    """What a candidate's process is to do."""

    program: str
    settings: Evaluation
    seed: int
    device: str
    images: int | None  # of each split, the first; None takes all
    nonce: str  # hexadecimal; what its result begins with, so that no other can be taken for it

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "TrainingRequest":
        values = json.loads(text)
        values["settings"] = Evaluation(**values["settings"])
        return cls(**values)


@dataclass
class CandidateReport:
    """What a candidate's process says of itself.

    Nobody believes it: archloop.evaluation.score reads it.
    """

    outcome: str = ""
    detail: str = ""
    parameters: int | None = None
    multiply_adds: int | None = None  # of one image
    graph: GraphRecord | None = None
    epochs: list[Epoch] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    format: str = ""
    seconds: dict[str, float] = field(default_factory=dict)  # by stage

    def to_json(self) -> bytes:
        return json.dumps(vars(self)).encode()
