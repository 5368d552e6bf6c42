"""Programs of a LEMUR checkout as seed programs: in one contract, without copies, best first.

A checkout has the programs in ab/nn/nn/NAME.py and what was measured in
ab/nn/stat/TASK_DATASET_METRIC_NAME/EPOCH.json (in its later history in ab/nn/stat/train/...), each
a list of trials with `accuracy` and hyperparameters. Those of image classification are taken.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from archloop.errors import InputError
from archloop.evaluation.static_checks import MAXIMUM_BYTES
from archloop.families.programs import any_program
from archloop.files import read_foreign_json, read_text
from archloop.lemur.contract import modernise
from archloop.novelty.gate import AMONG_SEEDS, near_copies
from archloop.novelty.tokens import text_digest
from archloop.seed_corpus.lemur_hints import hints_of
from archloop.seed_corpus.rows import LeftOut, LemurProgram, Trial
from archloop.texts import one_layout

TASK = "img-classification"
METRIC = "acc"
HYPERPARAMETERS = ("accuracy", "batch", "dropout", "lr", "momentum", "transform")


def read_programs(
    folder: str | Path | None,
    per_family: int | None = None,
    families: Sequence[str] | None = None,
    keep: Callable[[str], bool] = any_program,
) -> tuple[list[LemurProgram], list[LeftOut]]:
    """Return (programs, what was left out).

    folder: a checkout of LEMUR, or its folder ab/nn. A family is the letters that a name begins
    with. Within a family the order is that of the best accuracy that LEMUR measured, then of the
    names; the families take turns. Raises InputError when the folder is no checkout.
    """
    root = _root(folder)
    measured, unfit = read_statistics(root / "stat")
    programs: list[LemurProgram] = []
    left_out: list[LeftOut] = []
    for path in sorted((root / "nn").glob("*.py")):
        name, family = path.stem, family_of(path.stem)
        if name == "__init__" or (families and family not in families):
            continue
        try:
            program = _program(path, measured.get(name), keep)
        except ValueError as error:
            why = str(error) if name in measured else unfit.get(name, str(error))
            left_out.append({"id": f"lemur-{name}", "family": family, "why": why})
            continue

        programs.append(
            {
                "id": f"lemur-{name}",
                "family": family,
                "program": program,
                "hints": hints_of(name, program),
                "measured": measured[name],
            }
        )

    programs.sort(key=lambda program: (-program["measured"]["accuracy"], program["id"]))
    programs = _without_copies(programs, left_out)
    by_family = _best_of_families(programs, per_family, left_out)
    return _in_turn(by_family), sorted(left_out, key=lambda row: row["id"])


def _root(folder: str | Path | None) -> Path:
    """Return the folder ab/nn of a checkout."""
    if folder is None:
        raise InputError("settings: seed_corpus.lemur_folder is missing; it names a LEMUR checkout")
    folder = Path(folder)
    root = folder if (folder / "nn").is_dir() else folder / "ab" / "nn"
    if not (root / "nn").is_dir() or not (root / "stat").is_dir():
        raise InputError(
            f"{folder}: no LEMUR checkout (it has no ab/nn/nn and ab/nn/stat); see"
            " seed_corpus.lemur_folder"
        )

    return root


def read_statistics(folder: Path) -> tuple[dict[str, Trial], dict[str, str]]:
    """Return (name of a program -> its best trial, name -> an accuracy that is none).

    A trial whose accuracy is no number, as where the training diverged, is none; one outside 0 to 1
    is named in the second.
    """
    best: dict[str, Trial] = {}
    unfit: dict[str, str] = {}
    for path in sorted([*folder.glob(f"{TASK}_*/*.json"), *folder.glob(f"*/{TASK}_*/*.json")]):
        parts = path.parent.name.split("_", 3)
        if len(parts) != 4 or not path.stem.isdecimal():
            continue
        _, dataset, metric, name = parts
        if metric != METRIC:
            continue
        for trial in _trials(path, dataset):
            accuracy = trial["accuracy"]
            if not 0 <= accuracy <= 1:
                unfit[name] = f"{path}: an accuracy of {accuracy}, which is no share from 0 to 1"
            elif name not in best or accuracy > best[name]["accuracy"]:
                best[name] = trial

    return best, unfit


def family_of(name: str) -> str:
    """Return the letters that a name begins with: DPN of DPN107, rag of rag-0a1b."""
    letters, *_ = re.split("[^A-Za-z]", name, maxsplit=1)
    return letters or "other"


def _trials(path: Path, dataset: str) -> Iterator[Trial]:
    """Yield the trials of a file that have an accuracy."""
    trials = read_foreign_json(path)
    for trial in trials if isinstance(trials, list) else [trials]:
        # To isinstance, true is an int.
        if not isinstance(trial, dict) or type(trial.get("accuracy")) not in (int, float):
            continue
        known = {name: trial[name] for name in HYPERPARAMETERS if trial.get(name) is not None}
        yield cast(Trial, {"dataset": dataset, "epoch": int(path.stem), **known})


def _program(path: Path, measured: Trial | None, keep: Callable[[str], bool]) -> str:
    """Return a program in the present contract; raise ValueError, which says why not."""
    if measured is None:
        raise ValueError("no accuracy at image classification was measured")
    try:
        text = read_text(path)
    except InputError as error:
        raise ValueError(str(error)) from None

    program = modernise(one_layout(text)).strip() + "\n"
    if len(program.encode()) > MAXIMUM_BYTES or not keep(program):
        raise ValueError("too long")
    return program


def _without_copies(programs: list[LemurProgram], left_out: list[LeftOut]) -> list[LemurProgram]:
    """Return the programs of which none is a copy of an earlier one; the others are left out."""
    first: dict[str, str] = {}
    distinct = []
    for program in programs:
        same = first.setdefault(text_digest(program["program"]), program["id"])
        if same == program["id"]:
            distinct.append(program)
        else:
            why = f"the same as {same} but for names, comments and layout"
            left_out.append(_left_out(program, why))

    reasons, _ = near_copies(
        [program["id"] for program in distinct],
        [program["program"] for program in distinct],
        [None] * len(distinct),
        AMONG_SEEDS,
    )

    kept = []
    for program in distinct:
        if program["id"] in reasons:
            left_out.append(_left_out(program, reasons[program["id"]]))
        else:
            kept.append(program)

    return kept


def _best_of_families(
    programs: list[LemurProgram], per_family: int | None, left_out: list[LeftOut]
) -> dict[str, list[LemurProgram]]:
    """Return family -> its best programs; the others are left out."""
    chosen: dict[str, list[LemurProgram]] = {}
    for program in programs:
        of_family = chosen.setdefault(program["family"], [])
        if per_family is not None and len(of_family) == per_family:
            left_out.append(_left_out(program, f"beyond the best {per_family} of its family"))
        else:
            of_family.append(program)

    return chosen


def _in_turn(by_family: dict[str, list[LemurProgram]]) -> list[LemurProgram]:
    """Return the first of each family, then the second of each, and so on."""
    longest = max((len(programs) for programs in by_family.values()), default=0)
    turns = []
    for index in range(longest):
        for family in sorted(by_family):
            turns += by_family[family][index : index + 1]

    return turns


def _left_out(program: LemurProgram, why: str) -> LeftOut:
    return {"id": program["id"], "family": program["family"], "why": why}
