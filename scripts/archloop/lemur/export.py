"""Admitted programs as files that LEMUR takes: best first, each with its measured statistics.

Beside index.json lie nn/NAME.py and stat/train/TASK_DATASET_METRIC_NAME/EPOCHS.json, as in LEMUR's ab/nn, so the two
folders can be copied there. A program that lacks a method of LEMUR's contract gets one. The accuracy is that of this
project's validation split, which is held out of the official training split; LEMUR's own are of the test split.
"""

import json
from pathlib import Path

import polars as pl

from archloop.files import sha256_text, write_text
from archloop.lemur.contract import TRANSFORMS, complete, supported

# LEMUR's names of the data sets; others keep their own, with hyphens.
DATASETS = {"cifar10": "cifar-10", "cifar100": "cifar-100"}


def export(corpus: pl.DataFrame, folder: Path) -> list[dict]:
    """Write all rows, best first (ties by id), and return the index: what each program is, its files, their sha256."""
    ranked = corpus.sort(["accuracy", "id"], descending=[True, False])
    index, wanted = [], set()
    for rank, row in enumerate(ranked.iter_rows(named=True), start=1):
        protocol = json.loads(row["protocol"] or "null") or {}
        # Underscores separate the parts of LEMUR's folder names.
        name, dataset = (
            text.replace("_", "-") for text in (f"archloop-{row['id']}", row["dataset"])
        )
        place = f"stat/train/img-classification_{DATASETS.get(row['dataset'], dataset)}_acc_{name}"
        texts = {
            f"nn/{name}.py": complete(row["program"], protocol),
            f"{place}/{protocol.get('epochs', 1)}.json": json.dumps(
                [trial(row, protocol)], indent=4
            )
            + "\n",
        }
        for path, text in texts.items():
            write_text(folder / path, text)
        wanted |= texts.keys()
        facts = {
            key: row[key] for key in ("id", "dataset", "accuracy", "parameters", "chain", "cycle")
        }
        index.append(
            {"rank": rank, "files": {path: sha256_text(text) for path, text in texts.items()}}
            | facts
        )
    _remove_stale(folder, wanted)
    return index


def trial(row: dict, protocol: dict) -> dict:
    """Return one trial as LEMUR writes them: accuracy, the hyperparameters that the program takes, a stable uid."""
    named = {"lr": "learning_rate", "momentum": "momentum", "dropout": "dropout"}
    takes = supported(row["program"])
    values = {
        name: protocol[key] for name, key in named.items() if name in takes and key in protocol
    }
    values |= {"accuracy": row["accuracy"], "uid": row["evaluation"][:32]}
    values |= {"batch": protocol["batch_size"]} if "batch_size" in protocol else {}
    values["transform"] = TRANSFORMS.get(
        protocol.get("protocol"), "norm_32"
    )  # LEMUR's reader wants one
    return dict(sorted(values.items()))


def _remove_stale(folder: Path, wanted: set[str]) -> None:
    """Remove what an earlier export wrote and this one does not."""
    for path in [
        *folder.glob("nn/archloop-*.py"),
        *folder.glob("stat/train/*_acc_archloop-*/*.json"),
    ]:
        if str(path.relative_to(folder)) not in wanted:
            path.unlink()
            if path.suffix == ".json" and not any(path.parent.iterdir()):
                path.parent.rmdir()
