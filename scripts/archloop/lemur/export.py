"""Admitted programs as files that LEMUR takes: best first, each with its measured statistics.

Beside index.json lie nn/NAME.py and stat/train/TASK_DATASET_METRIC_NAME/EPOCHS.json, as in LEMUR's
ab/nn, so the two folders can be copied there. A program that lacks a method of LEMUR's contract
gets one. The accuracy is that of this project's validation split, which is held out of the official
training split; LEMUR's own are of the test split.
"""

import json
from pathlib import Path
from typing import Any, TypedDict

import polars as pl

from archloop.files import sha256_text, write_text
from archloop.lemur.contract import PLAIN_TRANSFORM, TRANSFORMS, complete, supported

# LEMUR's names of the data sets; others keep their own, with hyphens.
DATASETS = {"cifar10": "cifar-10", "cifar100": "cifar-100"}
# LEMUR's name of a hyperparameter -> the judge's.
HYPERPARAMETERS = {"lr": "learning_rate", "momentum": "momentum", "dropout": "dropout"}


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
    for rank, row in enumerate(ranked.iter_rows(named=True), start=1):
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


def _files(row: dict[str, Any]) -> dict[str, str]:
    """Return path -> text of the program of a corpus row and of its statistics."""
    protocol = json.loads(row["protocol"] or "null") or {}
    dataset = row["dataset"]
    # Underscores separate the parts of LEMUR's folder names.
    name = f"archloop-{row['id']}".replace("_", "-")
    lemurs = DATASETS.get(dataset, dataset.replace("_", "-"))
    folder = f"stat/train/img-classification_{lemurs}_acc_{name}"
    epochs = protocol.get("epochs", 1)
    statistics = json.dumps([trial(row, protocol)], indent=4)
    return {
        f"nn/{name}.py": complete(row["program"], protocol),
        f"{folder}/{epochs}.json": f"{statistics}\n",
    }


def trial(row: dict[str, Any], protocol: dict[str, Any]) -> dict[str, Any]:
    """Return one trial as LEMUR writes them.

    That is the accuracy, the hyperparameters that the program takes and a stable uid.
    """
    values = {
        "accuracy": row["accuracy"],
        "uid": row["evaluation"][:32],
        # LEMUR's reader wants one.
        "transform": TRANSFORMS.get(protocol.get("protocol"), PLAIN_TRANSFORM),
    }

    if "batch_size" in protocol:
        values["batch"] = protocol["batch_size"]

    takes = supported(row["program"])
    for name, setting in HYPERPARAMETERS.items():
        if name in takes and setting in protocol:
            values[name] = protocol[setting]

    return dict(sorted(values.items()))


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
