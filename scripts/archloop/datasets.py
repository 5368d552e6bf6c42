"""Data sets as one file each: uint8 images, labels, and a seeded split that every stage shares."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from archloop.errors import InputError
from archloop.files import replacing
from archloop.seeds import derive

SPLITS = ("train", "validation", "test")


def prepare_dataset(name: str, output: Path, settings: dict, seed: int) -> dict:
    """Write a data set as safetensors and return its facts.

    Tensors: {split}_images uint8 (n, channels, height, width) and {split}_labels int64 (n,) for the splits train,
    validation and test. settings: section data. Raises InputError when the source is missing or broken.
    """
    train, test = SOURCES[name](Path(settings["root"]))
    if test is None:
        kept, held = stratified_split(train[1], settings["test_share"], derive(seed, name, "test"))
        train, test = (train[0][kept], train[1][kept]), (train[0][held], train[1][held])
    kept, held = stratified_split(train[1], settings["validation_share"], derive(seed, name, "validation"))
    parts = {"train": (train[0][kept], train[1][kept]), "validation": (train[0][held], train[1][held]), "test": test}
    classes = int(max(labels.max() for _, labels in parts.values())) + 1
    pixels = parts["train"][0].astype(np.float64) / 255
    facts = {
        "name": name,
        "classes": classes,
        "channels": int(pixels.shape[1]),
        "size": int(pixels.shape[2]),
        "chance": 1 / classes,
        "mean": [round(float(value), 6) for value in pixels.mean(axis=(0, 2, 3))],
        "std": [round(float(value), 6) for value in pixels.std(axis=(0, 2, 3))],
        "images": {split: len(parts[split][1]) for split in SPLITS},
        "seed": seed,
    }
    tensors = {}
    for split, (images, labels) in parts.items():
        tensors[f"{split}_images"] = torch.from_numpy(np.ascontiguousarray(images))
        tensors[f"{split}_labels"] = torch.from_numpy(labels.astype(np.int64))
    with replacing(output) as temporary:
        save_file(tensors, temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})
    return facts


def read_facts(path: Path) -> dict:
    """Return the facts of a prepared data set: name, classes, channels, size, chance, mean, std, images, seed."""
    with _opened(path) as opened:
        return json.loads(opened.metadata()["facts"])


def read_split(path: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (images uint8 (n, c, h, w), labels int64 (n,)) of one split."""
    with _opened(path) as opened:
        return opened.get_tensor(f"{split}_images"), opened.get_tensor(f"{split}_labels")


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (kept, held) indices, each sorted; of every class the same share is held, at least one image."""
    dice = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = dice.permutation(np.flatnonzero(labels == label))
        held.append(members[: max(1, round(share * len(members)))])
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held), held


def _opened(path: Path):
    try:
        opened = safe_open(path, framework="pt")
        if "facts" in (opened.metadata() or {}):
            return opened
        why = "it has no facts of a data set"
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        why = " ".join(str(error).split())
    raise InputError(f"{path}: no whole data set ({why}); delete the file and run again") from None


def _digits(_root: Path):
    from sklearn.datasets import load_digits

    raw = load_digits()
    small = torch.from_numpy(raw.images * (255 / 16)).float()[:, None]
    large = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    return (large.round().clamp(0, 255).to(torch.uint8).numpy(), raw.target), None


SOURCES = {"digits": _digits}
