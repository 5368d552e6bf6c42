"""Reading a data set that prepare_dataset made ready: its metadata, images and labels of one split.

All without torch, whose import takes longer than most of the jobs that ask for them; numpy is
imported when a file is opened, for the checks before a run may have none to open.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from archloop.errors import InputError, one_line
from archloop.files import AGAIN

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "validation", "test")
# Where the metadata lie in a file's header, as JSON.
HEADER_KEY = "facts"


@dataclass(frozen=True)
class DatasetDescription:
    """What a prompt says of a data set. size: pixels of a side."""

    name: str
    channels: int
    size: int
    classes: int


@dataclass(frozen=True)
class DatasetMetadata(DatasetDescription):
    """What every stage knows of a data set without its images.

    class_names: of label 0, 1, ... chance: share of the commonest class of validation. mean, std:
    by channel, of the split train, pixels from 0 to 1. images: how many by split. notes: what was
    left out and what is odd, one line each. seed: that of the division.
    """

    class_names: list[str]
    chance: float
    mean: list[float]
    std: list[float]
    images: dict[str, int]
    notes: list[str]
    seed: int


def read_metadata(path: Path) -> DatasetMetadata:
    """Return the metadata of a prepared data set; raise InputError where the file is not whole."""
    text = _opened(path).metadata()[HEADER_KEY]
    try:
        return DatasetMetadata(**json.loads(text))
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: no whole data set (what it says of itself is not what this version writes)"
            f"{AGAIN}"
        ) from None


def read_split(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (images uint8 (n, channels, size, size), labels int64 (n,)) of one split."""
    with _opened(path) as opened:
        return opened.get_tensor(f"{split}_images"), opened.get_tensor(f"{split}_labels")


@contextlib.contextmanager
def tensors_written(path: Path) -> Iterator[None]:
    """Raise InputError where safetensors cannot write a file, such as on a full disk."""
    try:
        yield
    except SafetensorError as failed:
        raise InputError(f"{path}: cannot be written ({one_line(failed)})") from None


def _opened(path: Path) -> Any:
    """Open a data set; raise InputError where it is missing, cut off, or something else."""
    try:
        opened: Any = safe_open(path, framework="numpy")
        if HEADER_KEY in (opened.metadata() or {}):
            return opened
        why = "it has no metadata of a data set"
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        why = one_line(error)

    raise InputError(f"{path}: no whole data set ({why}){AGAIN}")
