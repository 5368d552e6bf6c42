"""The rows that travel on the way to the seed corpus: programs of LEMUR, and what is left out."""

from typing import NotRequired, TypedDict


class LemurTrial(TypedDict):
    """What LEMUR measured of a program.

    accuracy: from 0 to 1, of LEMUR's own test split, so it is no accuracy of the corpus. The rest
    are the hyperparameters of that trial.
    """

    accuracy: float
    dataset: str
    epoch: int
    batch: NotRequired[int]
    dropout: NotRequired[float]
    lr: NotRequired[float]
    momentum: NotRequired[float]
    transform: NotRequired[str]


class LemurProgram(TypedDict):
    """A program of LEMUR in the present contract.

    hints: names of those that it could have been the answer to. measured: its best trial.
    """

    id: str
    family: str
    program: str
    hints: list[str]
    measured: LemurTrial


class LeftOut(TypedDict):
    """A program that is not in the seed corpus, and why."""

    id: str
    family: str | None
    why: str
