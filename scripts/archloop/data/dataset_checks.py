"""What is peculiar about a data set, and should be known before anything is measured on it."""

import hashlib

import numpy as np

from archloop.errors import InputError

# Classes are uneven when the commonest has so many times the training images of the rarest.
UNEVEN = 2
# Images are dark when no pixel is brighter than this, of 255.
DARK = 31

Split = tuple[np.ndarray, np.ndarray]


def commonest_share(labels: np.ndarray) -> float:
    """Return the share of the commonest class: the accuracy of whoever always answers it."""
    return float(np.bincount(labels).max() / len(labels))


def peculiarities(parts: dict[str, Split], class_names: list[str]) -> list[str]:
    """Return one line for each thing that is odd about the splits train, validation and test.

    parts: split -> (images uint8 (n, channels, size, size), labels (n,)). Raises InputError when all images to train on
    are one and the same, for nothing can be learned of them.
    """
    images, labels = parts["train"]
    if all(np.array_equal(image, images[0]) for image in images):
        raise InputError(
            f"all {len(images):,} images to train on are one and the same; drawings on a transparent ground are put on"
            " white, where white ones vanish"
        )
    notes = []
    if images.max() <= DARK:
        notes.append(
            f"no pixel is brighter than {images.max()} of 255; do the files use fewer bits than they have?"
        )
    for channel in range(images.shape[1]):
        if images[:, channel].min() == images[:, channel].max():
            notes.append(f"channel {channel} is the same in every pixel to train on")

    for split, (_, present) in parts.items():
        absent = sorted(set(range(len(class_names))) - set(present.tolist()))
        if absent:
            names = ", ".join(class_names[label] for label in absent[:5]) + (
                ", ..." if len(absent) > 5 else ""
            )
            notes.append(f"{split} lacks {len(absent)} of {len(class_names)} classes: {names}")
    counts = np.bincount(labels)
    if counts.max() >= UNEVEN * counts[counts > 0].min():
        common = class_names[int(counts.argmax())]
        notes.append(
            f"the classes are uneven: {common} is {counts.max() / len(labels):.1%} of the images to train on; see"
            " admission.measure for an accuracy that counts every class alike"
        )
    return notes + _repeated(parts, class_names)


def _repeated(parts: dict[str, Split], class_names: list[str]) -> list[str]:
    """Return a line for images that are the same to the byte as one that is trained on, or as one of another class."""
    notes, before = [], set()
    labels_of: dict[bytes, set[int]] = {}
    for split, (images, labels) in parts.items():
        digests = [
            hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()
            for image in images
        ]
        again = sum(digest in before for digest in digests)
        if again:
            where = "train" if split == "validation" else "train or validation"
            notes.append(
                f"{again:,} of {len(digests):,} images of {split} are in {where}, too, so scores mislead"
            )
        before.update(digests)
        for digest, label in zip(digests, labels.tolist()):
            labels_of.setdefault(digest, set()).add(label)
    torn = [sorted(found) for found in labels_of.values() if len(found) > 1]
    if torn:
        first, second = (class_names[label] for label in torn[0][:2])
        notes.append(
            f"{len(torn):,} images lie in two classes or more, such as {first} and {second}"
        )
    return notes
