"""One file a data set: uint8 images, labels, a seeded split, the metadata that stages share."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from archloop.data.dataset_checks import Split, Splits, commonest_share, peculiarities
from archloop.data.dataset_file import HEADER_KEY, SPLITS, DatasetMetadata, tensors_written
from archloop.data.sources import read_source
from archloop.errors import InputError
from archloop.files import replacing
from archloop.logs import get_logger
from archloop.random_seeds import derive
from archloop.settings.sections import Data

# Images counted at once for the statistics: numpy widens each pixel to 8 bytes while it counts.
CHUNK = 4096


def prepare_dataset(name: str, output: Path, settings: Data, seed: int) -> DatasetMetadata:
    """Write a data set as safetensors and return its metadata.

    Tensors: {split}_images uint8 (n, channels, size, size) and {split}_labels int64 (n,) for the
    splits train, validation and test, the last two shuffled. An official test set stays the test
    set; validation, where there is no official one, is a stratified share of the training set. Of
    what is left to train on, `train_images` are kept, so neither of the others depends on that
    number. mean and std, by channel and with pixels from 0 to 1, are those of the split train
    alone; chance is the share of the commonest class of validation. Raises InputError when the
    source is missing or broken, or nothing can be learned from it.
    """
    splits, class_names, notes = _read_splits(name, settings, seed)
    images, _ = splits["train"]
    _, validation_labels = splits["validation"]
    mean, std = channel_statistics(images)
    metadata = DatasetMetadata(
        name=_name(name, settings),
        classes=len(class_names),
        class_names=class_names,
        channels=int(images.shape[1]),
        size=int(images.shape[2]),
        chance=commonest_share(validation_labels),
        mean=mean,
        std=std,
        images=_counts(splits),
        notes=notes + peculiarities(splits, class_names),
        seed=seed,
    )

    _write(output, splits, metadata)
    _log(metadata)
    return metadata


def _counts(splits: Splits) -> dict[str, int]:
    """Return split -> how many images it has."""
    counts = {}
    for split in SPLITS:
        _, labels = splits[split]
        counts[split] = len(labels)
    return counts


def _read_splits(name: str, settings: Data, seed: int) -> tuple[Splits, list[str], list[str]]:
    """Return (split -> images and labels, names of the classes, notes on what was left out)."""
    source = read_source(name, settings)
    train = source.train
    validation = source.validation
    test = source.test
    class_names = source.class_names
    notes = list(source.notes)
    del source  # or its arrays would stay in memory beside the splits

    if test is None:
        seed_of_test = derive(seed, name, "test")
        train, test = _divide(train, settings.test_share, seed_of_test, class_names)
    if validation is None:
        seed_of_validation = derive(seed, name, "validation")
        train, validation = _divide(
            train, settings.validation_share, seed_of_validation, class_names
        )

    if settings.train_images is not None:
        images, labels = train
        seed_of_train = derive(seed, name, "train")
        kept = stratified_sample(labels, settings.train_images, seed_of_train)
        train = images[kept], labels[kept]

    # In the order of their classes, a network that looks at its whole batch would read the labels
    # off the positions.
    splits = {
        "train": train,
        "validation": _shuffled(validation, derive(seed, name, "validation", "order")),
        "test": _shuffled(test, derive(seed, name, "test", "order")),
    }

    return splits, class_names, notes


def _name(name: str, settings: Data) -> str:
    """Return the name of a data set in prompts and tables: a user's own images may have one."""
    name_of_user = settings.folder_name if name == "folder" else None
    return name_of_user or name


def _write(output: Path, splits: Splits, metadata: DatasetMetadata) -> None:
    tensors = {}
    for split, (images, labels) in splits.items():
        # safetensors refuses a view that skips bytes, such as a transposed array.
        whole = np.ascontiguousarray(images)
        tensors[f"{split}_images"] = torch.from_numpy(whole)
        tensors[f"{split}_labels"] = torch.from_numpy(labels)

    text = json.dumps(asdict(metadata), sort_keys=True)
    header = {HEADER_KEY: text}
    with tensors_written(output), replacing(output) as temporary:
        save_file(tensors, temporary, metadata=header)


def _log(metadata: DatasetMetadata) -> None:
    logger = get_logger("prepare")
    parts = [f"{count:,} {split}" for split, count in metadata.images.items()]
    counts = ", ".join(parts)
    channels, size = metadata.channels, metadata.size
    shape = f"{channels}x{size}x{size}"
    logger.info("%s: %s images, %s, %d classes", metadata.name, counts, shape, metadata.classes)

    chance = 100 * metadata.chance
    logger.info("chance, the share of the commonest class of validation: %.1f %%", chance)
    for note in metadata.notes:
        logger.warning("note: %s", note)


def stratified_split(
    labels: np.ndarray, share: float, seed: int, class_names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return (kept, held out) indices, each sorted; of every class the same share is held out.

    class_names: of label 0, 1, ..., for messages. At least one image of a class is held out and one
    kept; raises InputError when a class has only one.
    """
    rng = np.random.default_rng(seed)
    held_out_by_class = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            name = class_names[label] if class_names else label
            raise InputError(
                f"class {name} has one image only; a split needs two or more of every class"
            )

        count = max(1, round(share * len(members)))
        all_but_one = len(members) - 1
        held_out_by_class.append(members[: min(count, all_but_one)])

    held_out = np.sort(np.concatenate(held_out_by_class))
    every = np.arange(len(labels))
    return np.setdiff1d(every, held_out), held_out


def stratified_sample(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return `number` indices, sorted, in the proportions of the classes, all if there are no more.

    One of each class comes first; the rest is dealt by largest remainder. A seed orders each class
    in one way, so more images are the former ones and others. Raises InputError for fewer images
    than classes.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if number < len(classes):
        raise InputError(
            f"data.train_images: {number} for {len(classes)} classes; at least one of each is"
            " needed"
        )

    if number >= len(labels):
        return np.arange(len(labels))

    to_deal = number - len(classes)
    shares = to_deal * (sizes - 1) / (len(labels) - len(classes))
    whole = np.floor(shares)
    wanted = 1 + whole.astype(np.int64)

    # Stable, or equal remainders would go by numpy's version.
    largest_first = np.argsort(whole - shares, kind="stable")
    left = number - wanted.sum()
    wanted[largest_first[:left]] += 1

    rng = np.random.default_rng(seed)
    sampled = []
    for label, count in zip(classes, wanted):
        members = rng.permutation(np.flatnonzero(labels == label))
        sampled.append(members[:count])

    return np.sort(np.concatenate(sampled))


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return (mean, std) by channel of uint8 images (n, channels, height, width), as 0 to 1.

    Computed from whole numbers, so that neither order nor size of chunks changes a digit; six
    decimals. A channel that never varies gets std 1, for the judge divides by it.
    """
    channels = images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        for channel in range(channels):
            values = chunk[:, channel].ravel()
            counts[channel] += np.bincount(values, minlength=256)

    means, deviations = [], []
    # Python's integers from here on: the squares of sums would not fit 64 bits.
    for histogram in counts.tolist():
        pixels = total = squares = 0
        for value, count in enumerate(histogram):
            pixels += count
            total += count * value
            squares += count * value**2

        mean = total / pixels / 255
        variance = (pixels * squares - total**2) / pixels**2
        deviation = variance**0.5 / 255
        means.append(round(mean, 6))
        deviations.append(round(deviation, 6) or 1.0)

    return means, deviations


def _shuffled(part: Split, seed: int) -> Split:
    images, labels = part
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    return images[order], labels[order]


def _divide(
    part: Split, share: float, seed: int, class_names: Sequence[str]
) -> tuple[Split, Split]:
    """Return (what is kept, what is held out) of images and labels."""
    images, labels = part
    kept, held_out = stratified_split(labels, share, seed, class_names)
    part_kept = images[kept], labels[kept]
    part_held_out = images[held_out], labels[held_out]
    return part_kept, part_held_out
