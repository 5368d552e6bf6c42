"""Whether a machine works: a crash is a verdict on a program only where a sound program trains.

A fault of the machine is no verdict.
"""

import os
from dataclasses import replace
from typing import Protocol

from archloop.errors import InputError
from archloop.evaluation.faults import is_device
from archloop.evaluation.records import Record
from archloop.evaluation.score import NO_RESULT
from archloop.settings.sections import Evaluation

# Outcomes that another try on another day may not have: they are not kept for good.
TRANSIENT = ("timeout", "out_of_memory")
# What a machine that does not work makes of every program.
FAILURES = (*TRANSIENT, "crashed")
# A program that any working machine trains.
SOUND = """
import torch.nn as nn

class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_shape[1], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(4, out_shape[0])

    def forward(self, x):
        return self.head(self.layers(x).flatten(1))
"""
PROBE_IMAGES = 64


class AnyJudge(Protocol):
    """What is asked of a judge here. sound: whether a program was trained on this machine."""

    sound: bool

    def judge(
        self, program: str | None, settings: Evaluation, seed: int, *, device: str | None
    ) -> Record: ...

    def settled(self, settings: Evaluation) -> Evaluation: ...

    def train_once(
        self, program: str, settings: Evaluation, seed: int, device: str, images: int | None
    ) -> Record: ...


def judge_fairly(
    judge: AnyJudge, program: str | None, settings: Evaluation, seed: int, device: str
) -> tuple[Record, bool]:
    """Return (the record of a program, whether another try on another day would give it, too).

    A crash counts only where the machine works: a sound program shows that. What sounds like a
    device that fails is tried once more, and never kept for good. Raises InputError when the sound
    program fails.
    """
    record = judge.judge(program, settings, seed, device=device)
    # Processors stay as sound as they were, a GPU may be lost between two programs.
    doubtful = device != "cpu" or not judge.sound
    if record["outcome"] == "crashed" and doubtful:
        prove(judge, settings, device)
        without_result = (record["detail"] or "").startswith(NO_RESULT)
        if without_result or _device_failed(record):
            record = judge.judge(program, settings, seed, device=device)

    judge.sound = judge.sound or record["outcome"] == "trained"
    failing = record["outcome"] == "crashed" and _device_failed(record)
    return record, record["outcome"] not in TRANSIENT and not failing


def _device_failed(record: Record) -> bool:
    return is_device(record["detail"] or "")


def prove(judge: AnyJudge, settings: Evaluation, device: str) -> None:
    """Judge a program that is sound.

    Raise InputError when it fails, for then no verdict of this machine counts.
    """
    # Small, and by the evaluator's own loop, whatever the protocol asks for.
    probe = replace(
        judge.settled(settings),
        training="evaluator",
        epochs=1,
        repeats=1,
        batch_size=16,
        learning_rate=0.01,
        momentum=0.9,
        gradient_clip=3.0,
        parameter_budget=10**6,
        timeout_s=120,
    )

    record = judge.train_once(SOUND, probe, 0, device, PROBE_IMAGES)
    if record["outcome"] != "trained":
        node = os.uname().nodename
        raise InputError(
            f"{node}: on {device} a sound program fails, too "
            f"({record['outcome']}: {record['detail']}); no candidate is blamed for it: "
            "free the device, or take another node"
        )
    judge.sound = True
