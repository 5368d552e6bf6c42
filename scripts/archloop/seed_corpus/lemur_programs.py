"""Programs of a LEMUR checkout as seed programs: image classification, in one contract, without copies, best first.

A checkout has the programs in ab/nn/nn/NAME.py and what was measured in ab/nn/stat/TASK_DATASET_METRIC_NAME/EPOCH.json
(in its later history in ab/nn/stat/train/...), each a list of trials with `accuracy` and hyperparameters.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from archloop.errors import InputError
from archloop.evaluation.static_checks import MAXIMUM_BYTES
from archloop.files import read_foreign_json, read_text
from archloop.lemur.contract import modernise
from archloop.novelty.neighbours import AMONG_SEEDS, near_copies
from archloop.novelty.tokens import text_digest
from archloop.seed_corpus.lemur_hints import hints_of
from archloop.texts import one_layout

TASK, METRIC = "img-classification", "acc"


def read_programs(
    folder: str | Path | None,
    per_family: int | None = None,
    families: Sequence[str] | None = None,
    keep: Callable[[str], bool] = lambda program: True,
) -> tuple[list[dict], list[dict]]:
    """Return (programs, what was left out): rows {id, family, program, hints, measured} and {id, family, why}.

    folder: a checkout of LEMUR, or its folder ab/nn. A family is the letters that a name begins with. Within a family
    the order is that of the best accuracy that LEMUR measured, then of the names; the families take turns. measured is
    that trial: dataset, epoch, accuracy (of LEMUR's own test split, so it is no accuracy of the corpus) and
    hyperparameters. hints: names of those that fit. Raises InputError when the folder is no checkout.
    """
    if folder is None:
        raise InputError("settings: seed_corpus.lemur_folder is missing; it names a LEMUR checkout")
    folder = Path(folder)
    root = folder if (folder / "nn").is_dir() else folder / "ab" / "nn"
    if not (root / "nn").is_dir() or not (root / "stat").is_dir():
        raise InputError(
            f"{folder}: no LEMUR checkout (it has no ab/nn/nn and ab/nn/stat); see seed_corpus.lemur_folder"
        )
    measured, unfit = read_statistics(root / "stat")
    rows, left_out = [], []
    for path in sorted((root / "nn").glob("*.py")):
        row = {
            "id": f"lemur-{path.stem}",
            "family": family_of(path.stem),
            "measured": measured.get(path.stem),
        }
        if path.stem == "__init__" or (families and row["family"] not in families):
            continue
        row["program"], why = _usable(path, row["measured"], keep)
        why = unfit.get(path.stem, why) if row["measured"] is None else why
        if why:
            left_out.append(_left_out(row, why))
        else:
            rows.append(row | {"hints": hints_of(path.stem, row["program"])})
    rows.sort(key=lambda row: (-row["measured"]["accuracy"], row["id"]))
    rows = _without_copies(rows, left_out)
    chosen: dict[str, list[dict]] = {}
    for row in rows:
        of_family = chosen.setdefault(row["family"], [])
        if per_family is not None and len(of_family) == per_family:
            left_out.append(_left_out(row, f"beyond the best {per_family} of its family"))
        else:
            of_family.append(row)
    longest = max((len(each) for each in chosen.values()), default=0)
    turns = [
        chosen[name][at]
        for at in range(longest)
        for name in sorted(chosen)
        if at < len(chosen[name])
    ]
    return turns, sorted(left_out, key=lambda row: row["id"])


def read_statistics(folder: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """Return (name of a program -> its best trial at image classification, name -> an accuracy that is none).

    A trial: accuracy, dataset, epoch, hyperparameters. One whose accuracy is no number, as where the training diverged,
    is none; one outside 0 to 1 is named in the second.
    """
    best: dict[str, dict] = {}
    unfit: dict[str, str] = {}
    for path in sorted([*folder.glob(f"{TASK}_*/*.json"), *folder.glob(f"*/{TASK}_*/*.json")]):
        parts = path.parent.name.split("_", 3)
        if len(parts) != 4 or parts[2] != METRIC or not path.stem.isdecimal():
            continue
        for trial in _trials(path):
            found = {"dataset": parts[1], "epoch": int(path.stem)} | trial
            if not 0 <= trial["accuracy"] <= 1:
                unfit[parts[3]] = (
                    f"{path}: an accuracy of {trial['accuracy']}, which is no share from 0 to 1"
                )
            elif parts[3] not in best or found["accuracy"] > best[parts[3]]["accuracy"]:
                best[parts[3]] = found
    return best, unfit


def family_of(name: str) -> str:
    """Return the letters that a name begins with: DPN of DPN107, rag of rag-0a1b."""
    return re.match("[A-Za-z]*", name)[0] or "other"


def _trials(path: Path) -> Iterable[dict]:
    trials = read_foreign_json(path)
    trials = trials if isinstance(trials, list) else [trials]
    wanted = ("accuracy", "batch", "dropout", "lr", "momentum", "transform")
    for trial in trials:
        if isinstance(trial, dict) and type(trial.get("accuracy")) in (
            int,
            float,
        ):  # true is an int to isinstance
            yield {name: trial[name] for name in wanted if trial.get(name) is not None}


def _usable(
    path: Path, measured: dict | None, keep: Callable[[str], bool]
) -> tuple[str | None, str | None]:
    """Return (the program in the present contract, None) or (None, why not)."""
    if measured is None:
        return None, "no accuracy at image classification was measured"
    try:
        program = modernise(one_layout(read_text(path))).strip() + "\n"
    except (ValueError, InputError) as error:
        return None, str(error)
    short = len(program.encode()) <= MAXIMUM_BYTES
    return (program, None) if short and keep(program) else (None, "too long")


def _without_copies(rows: list[dict], left_out: list[dict]) -> list[dict]:
    first: dict[str, str] = {}
    distinct = []
    for row in rows:
        same = first.setdefault(text_digest(row["program"]), row["id"])
        if same == row["id"]:
            distinct.append(row)
        else:
            left_out.append(
                _left_out(row, f"the same as {same} but for names, comments and layout")
            )
    copies, _ = near_copies(distinct, AMONG_SEEDS)
    left_out += [_left_out(row, copies[row["id"]]) for row in distinct if row["id"] in copies]
    return [row for row in distinct if row["id"] not in copies]


def _left_out(row: dict, why: str) -> dict:
    return {"id": row["id"], "family": row["family"], "why": why}
