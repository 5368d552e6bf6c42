"""Admitted programs as files that LEMUR takes: best first, each with its measured statistics.

Beside index.json lie nn/NAME.py and stat/train/TASK_DATASET_METRIC_NAME/EPOCHS.json, as in LEMUR's
ab/nn, so the two folders can be copied there. A program that lacks a method of LEMUR's contract
gets one. The accuracy is that of this project's validation split, which is held out of the official
training split; LEMUR's own are of the test split.
"""

import json
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import polars as pl

from archloop.files import sha256_text, write_text
from archloop.lemur.contract import RecordedProtocol, complete_program
from archloop.lemur.hyperparameters import PLAIN_TRANSFORM, TRANSFORMS, declared_names

# LEMUR's names of the data sets; others keep their own, with hyphens.
DATASETS = {"cifar10": "cifar-10", "cifar100": "cifar-100"}


class Design(TypedDict):
    """What is read of a corpus row. protocol: that of its evaluation, as JSON."""

    id: str
    chain: str
    cycle: int
    dataset: str
    program: str
    parameters: int
    accuracy: float
    evaluation: str
    protocol: str | None


class Trial(TypedDict):
    """One trial as LEMUR writes them. batch, lr, momentum, dropout: where the program takes them.

    uid: the first half of the key of the score, so the same at each export.
    """

    accuracy: float
    uid: str
    transform: str
    batch: NotRequired[int]
    lr: NotRequired[float]
    momentum: NotRequired[float]
    dropout: NotRequired[float]


class Exported(TypedDict):
    """A line of index.json. files: path below the folder -> sha256."""

    rank: int
    files: dict[str, str]
    id: str
    dataset: str
    accuracy: float
    parameters: int
    chain: str
    cycle: int


def export(corpus: pl.DataFrame, folder: Path) -> list[Exported]:
    """Write all rows, best first (ties by id), and return the index.

    What an earlier export wrote there and this one does not is removed.
    """
    ranked = corpus.sort(["accuracy", "id"], descending=[True, False])
    index: list[Exported] = []
    written: set[str] = set()
    for rank, values in enumerate(ranked.iter_rows(named=True), start=1):
        row = cast(Design, values)
        digests = {}
        for path, text in _files(row).items():
            write_text(folder / path, text)
            digests[path] = sha256_text(text)
        written |= digests.keys()
        index.append(
            {
                "rank": rank,
                "files": digests,
                "id": row["id"],
                "dataset": row["dataset"],
                "accuracy": row["accuracy"],
                "parameters": row["parameters"],
                "chain": row["chain"],
                "cycle": row["cycle"],
            }
        )

    _remove_stale(folder, written)
    return index


def _files(row: Design) -> dict[str, str]:
    """Return path -> text of the program of a corpus row and of its statistics."""
    protocol = cast(RecordedProtocol, json.loads(row["protocol"] or "null") or {})
    dataset = row["dataset"]
    # Underscores separate the parts of LEMUR's folder names.
    name = f"archloop-{row['id']}".replace("_", "-")
    lemur_dataset = DATASETS.get(dataset, dataset.replace("_", "-"))
    folder = f"stat/train/img-classification_{lemur_dataset}_acc_{name}"

    epochs = protocol.get("epochs", 1)
    statistics = json.dumps([trial(row, protocol)], indent=4, sort_keys=True)
    return {
        f"nn/{name}.py": complete_program(row["program"], protocol),
        f"{folder}/{epochs}.json": f"{statistics}\n",
    }


def trial(row: Design, protocol: RecordedProtocol) -> Trial:
    """Return the statistics of a design that was trained under a protocol."""
    result: Trial = {
        "accuracy": row["accuracy"],
        "uid": row["evaluation"][:32],
        # LEMUR's reader wants one.
        "transform": TRANSFORMS.get(protocol.get("protocol"), PLAIN_TRANSFORM),
    }
    if "batch_size" in protocol:
        result["batch"] = protocol["batch_size"]

    hyperparameters = declared_names(row["program"])
    if "lr" in hyperparameters and "learning_rate" in protocol:
        result["lr"] = protocol["learning_rate"]
    if "momentum" in hyperparameters and "momentum" in protocol:
        result["momentum"] = protocol["momentum"]
    if "dropout" in hyperparameters and "dropout" in protocol:
        result["dropout"] = protocol["dropout"]
    return result


def _remove_stale(folder: Path, written: set[str]) -> None:
    """Remove what an earlier export wrote and this one did not."""
    programs = folder.glob("nn/archloop-*.py")
    statistics = folder.glob("stat/train/*_acc_archloop-*/*.json")
    for path in [*programs, *statistics]:
        if str(path.relative_to(folder)) in written:
            continue
        path.unlink()
        folder_of_one = path.suffix == ".json"
        if folder_of_one and not any(path.parent.iterdir()):
            path.parent.rmdir()
