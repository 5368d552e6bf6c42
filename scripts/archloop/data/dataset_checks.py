"""What is peculiar about a data set, and should be known before anything is measured on it."""

import hashlib

import numpy as np

from archloop.errors import InputError

# Classes are uneven when the commonest has so many times the training images of the rarest.
UNEVEN = 2
# Images are dark when no pixel is brighter than this, of 255.
DARK = 31
# Classes that one line names.
NAMED = 5

# Images uint8 (n, channels, size, size) and labels int64 (n,).
Split = tuple[np.ndarray, np.ndarray]
Splits = dict[str, Split]  # by name


def commonest_share(labels: np.ndarray) -> float:
    """Return the share of the commonest class: the accuracy of whoever always answers it."""
    commonest = np.bincount(labels).max()
    return float(commonest / len(labels))


def peculiarities(splits: Splits, class_names: list[str]) -> list[str]:
    """Return one line for each thing that is odd about the splits train, validation and test.

    Raises InputError when all images to train on are one and the same, for nothing can be learned
    of them.
    """
    images, labels = splits["train"]
    if all(np.array_equal(image, images[0]) for image in images):
        raise InputError(
            f"all {len(images):,} images to train on are one and the same; drawings on a"
            " transparent ground are put on white, where white ones vanish"
        )

    return [
        *_plain_pixels(images),
        *_absent_classes(splits, class_names),
        *_uneven_classes(labels, class_names),
        *_repeated(splits, class_names),
    ]


def _plain_pixels(images: np.ndarray) -> list[str]:
    """Return a line for images that are all dark, and for each channel that never varies."""
    notes = []
    if images.max() <= DARK:
        notes.append(
            f"no pixel is brighter than {images.max()} of 255; do the files use fewer bits than"
            " they have?"
        )

    for channel in range(images.shape[1]):
        values = images[:, channel]
        if values.min() == values.max():
            notes.append(f"channel {channel} is the same in every pixel to train on")

    return notes


def _absent_classes(splits: Splits, class_names: list[str]) -> list[str]:
    """Return a line for each split that lacks some of the classes."""
    notes = []
    for split, (_, labels) in splits.items():
        there = set(labels.tolist())
        absent = [name for label, name in enumerate(class_names) if label not in there]
        if absent:
            shown = absent[:NAMED]
            if len(absent) > NAMED:
                shown.append("...")
            names = ", ".join(shown)
            notes.append(f"{split} lacks {len(absent)} of {len(class_names)} classes: {names}")

    return notes


def _uneven_classes(labels: np.ndarray, class_names: list[str]) -> list[str]:
    """Return a line where one class to train on is much commoner than another."""
    counts = np.bincount(labels)
    rarest = counts[counts > 0].min()
    if counts.max() < UNEVEN * rarest:
        return []
    common = class_names[int(counts.argmax())]
    share = commonest_share(labels)
    return [
        f"the classes are uneven: {common} is {share:.1%} of the images to"
        " train on; see admission.measure for an accuracy that counts every class alike"
    ]


def _repeated(splits: Splits, class_names: list[str]) -> list[str]:
    """Return a line for images that are the same to the byte as others that matter.

    Those are the ones of an earlier split, and those of another class.
    """
    notes = []
    earlier: set[bytes] = set()
    labels_of: dict[bytes, set[int]] = {}
    for split, (images, labels) in splits.items():
        digests = [_digest(image) for image in images]
        again = sum(digest in earlier for digest in digests)
        if again:
            where = "train" if split == "validation" else "train or validation"
            notes.append(
                f"{again:,} of {len(digests):,} images of {split} are in {where}, too, so scores"
                " mislead"
            )

        earlier.update(digests)
        for digest, label in zip(digests, labels.tolist()):
            labels_of.setdefault(digest, set()).add(label)

    torn = [sorted(labels) for labels in labels_of.values() if len(labels) > 1]
    if torn:
        first, second, *_ = [class_names[label] for label in torn[0]]
        count = f"{len(torn):,}"
        notes.append(f"{count} images lie in two classes or more, such as {first} and {second}")

    return notes


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
