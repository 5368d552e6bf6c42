"""Reading a data set that prepare_dataset made ready: its facts, and the images and labels of one split.

All without torch, whose import takes longer than most of the jobs that ask for them.
"""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from archloop.errors import InputError, one_line
from archloop.files import AGAIN

SPLITS = ("train", "validation", "test")


def read_facts(path: Path) -> dict:
    """Return the facts of a prepared data set.

    name, classes, class_names (of label 0, 1, ...), channels, size (pixels), chance (share of the commonest class of
    validation), mean and std (by channel, of the split train, pixels from 0 to 1), images (number by split), notes
    (what was left out and what is odd, one line each), seed.
    """
    with _opened(path) as opened:
        return json.loads(opened.metadata()["facts"])


def read_split(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (images uint8 (n, channels, size, size), labels int64 (n,)) of one split."""
    with _opened(path) as opened:
        return opened.get_tensor(f"{split}_images"), opened.get_tensor(f"{split}_labels")


def _opened(path: Path):
    try:
        opened = safe_open(path, framework="numpy")
        if "facts" in (opened.metadata() or {}):
            return opened
        why = "it has no facts of a data set"
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        why = one_line(error)
    raise InputError(f"{path}: no whole data set ({why}){AGAIN}") from None
