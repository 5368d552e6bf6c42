"""One file a data set: uint8 images, labels, a seeded split and the facts that every stage shares."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from archloop.data.dataset_checks import commonest_share, peculiarities
from archloop.data.dataset_file import SPLITS
from archloop.data.sources import read_source
from archloop.errors import InputError
from archloop.files import replacing
from archloop.progress import get_logger
from archloop.random_seeds import derive

# Images counted at once for the statistics: numpy widens each pixel to 8 bytes while it counts.
CHUNK = 4096


def prepare_dataset(name: str, output: Path, settings: dict, seed: int) -> dict:
    """Write a data set as safetensors and return its facts.

    Tensors: {split}_images uint8 (n, channels, size, size) and {split}_labels int64 (n,) for the splits train,
    validation and test, the last two shuffled. An official test set stays the test set; validation, where there is no
    official one, is a stratified share of the training set. Of what is left to train on, `train_images` are kept, so
    neither of the others depends on that number. mean and std, by channel and with pixels from 0 to 1, are those of the
    split train alone; chance is the share of the commonest class of validation. settings: section data. Raises
    InputError when the source is missing or broken, or nothing can be learned from it.
    """
    source = read_source(name, settings)
    train, validation, test, class_names = (
        source.train,
        source.validation,
        source.test,
        source.class_names,
    )
    notes = list(source.notes)
    del source  # or its arrays would stay in memory beside the splits
    if test is None:
        train, test = _divide(
            train, settings["test_share"], derive(seed, name, "test"), class_names
        )
    if validation is None:
        train, validation = _divide(
            train, settings["validation_share"], derive(seed, name, "validation"), class_names
        )
    if settings.get("train_images") is not None:
        kept = stratified_sample(train[1], settings["train_images"], derive(seed, name, "train"))
        train = (train[0][kept], train[1][kept])
    # In the order of their classes, a network that looks at its whole batch would read the labels off the places.
    validation = _shuffled(validation, derive(seed, name, "validation", "order"))
    test = _shuffled(test, derive(seed, name, "test", "order"))
    parts = dict(zip(SPLITS, (train, validation, test)))
    notes += peculiarities(parts, class_names)
    mean, std = channel_statistics(train[0])
    facts = {
        "name": (settings.get("folder_name") if name == "folder" else None) or name,
        "classes": len(class_names),
        "class_names": class_names,
        "channels": int(train[0].shape[1]),
        "size": int(train[0].shape[2]),
        "chance": commonest_share(validation[1]),
        "mean": mean,
        "std": std,
        "images": {split: len(parts[split][1]) for split in SPLITS},
        "notes": notes,
        "seed": seed,
    }
    tensors = {}
    for split, (images, labels) in parts.items():
        tensors[f"{split}_images"] = torch.from_numpy(np.ascontiguousarray(images))
        tensors[f"{split}_labels"] = torch.from_numpy(labels)
    with replacing(output) as temporary:
        save_file(tensors, temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})
    counts = ", ".join(f"{count:,} {split}" for split, count in facts["images"].items())
    shape = f"{facts['channels']}x{facts['size']}x{facts['size']}"
    logger = get_logger("prepare")
    logger.info("%s: %s images, %s, %d classes", facts["name"], counts, shape, facts["classes"])
    logger.info(
        "chance, the share of the commonest class of validation: %.1f %%", 100 * facts["chance"]
    )
    for note in notes:
        logger.warning("note: %s", note)
    return facts


def stratified_split(
    labels: np.ndarray, share: float, seed: int, class_names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return (kept, held) indices, each sorted; of every class the same share is held.

    class_names: of label 0, 1, ..., for messages. At least one image of a class is held and one kept; raises
    InputError when a class has only one.
    """
    dice = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = dice.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            name = class_names[label] if class_names else label
            raise InputError(
                f"class {name} has one image only; a split needs two or more of every class"
            )
        held.append(members[: min(max(1, round(share * len(members))), len(members) - 1)])
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held), held


def stratified_sample(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return `number` indices, sorted (all of them where there are no more), in the proportions of the classes.

    One of each class comes first; the rest is dealt by largest remainder. A seed draws each class in one order, so more
    images are the former ones and others. Raises InputError for fewer images than classes.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if number < len(classes):
        raise InputError(
            f"data.train_images: {number} for {len(classes)} classes; at least one of each is needed"
        )
    if number >= len(labels):
        return np.arange(len(labels))

    shares = (number - len(classes)) * (sizes - 1) / (len(labels) - len(classes))
    wanted = 1 + np.floor(shares).astype(np.int64)
    largest_remainders = np.argsort(np.floor(shares) - shares, kind="stable")[
        : number - wanted.sum()
    ]
    wanted[largest_remainders] += 1

    dice = np.random.default_rng(seed)
    drawn = [
        dice.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, wanted)
    ]
    return np.sort(np.concatenate(drawn))


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return (mean, std) by channel of uint8 images (n, channels, height, width), with pixels counted from 0 to 1.

    Computed from whole numbers, so that neither order nor size of chunks changes a digit; six decimals. A channel
    that never varies gets std 1, for the judge divides by it.
    """
    counts = np.zeros((images.shape[1], 256), np.int64)
    for start in range(0, len(images), CHUNK):
        for channel in range(images.shape[1]):
            counts[channel] += np.bincount(
                images[start : start + CHUNK, channel].ravel(), minlength=256
            )
    means, deviations = [], []
    for (
        histogram
    ) in counts.tolist():  # Python's integers: the squares of sums would not fit 64 bits
        pixels = sum(histogram)
        total = sum(value * count for value, count in enumerate(histogram))
        squares = sum(value**2 * count for value, count in enumerate(histogram))
        variance = (pixels * squares - total**2) / pixels**2
        means.append(round(total / pixels / 255, 6))
        deviations.append(round(variance**0.5 / 255, 6) or 1.0)
    return means, deviations


def _shuffled(part: tuple, seed: int) -> tuple:
    images, labels = part
    order = np.random.default_rng(seed).permutation(len(labels))
    return images[order], labels[order]


def _divide(
    part: tuple, share: float, seed: int, class_names: Sequence[str]
) -> tuple[tuple, tuple]:
    images, labels = part
    kept, held = stratified_split(labels, share, seed, class_names)
    return (images[kept], labels[kept]), (images[held], labels[held])
