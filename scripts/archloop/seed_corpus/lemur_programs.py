"""Programs of a LEMUR checkout as seed programs: in one contract, without copies, best first.

A checkout has the programs in ab/nn/nn/NAME.py and what was measured in
ab/nn/stat/TASK_DATASET_METRIC_NAME/EPOCH.json (in its later history in ab/nn/stat/train/...), each
a list of trials with `accuracy` and hyperparameters. Those of image classification are taken.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from operator import itemgetter
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
from archloop.seed_corpus.lemur_records import LeftOut, LemurProgram, LemurTrial
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
        name = path.stem
        identity, family = f"lemur-{name}", family_of(name)
        if name == "__init__" or (families and family not in families):
            continue
        try:
            program = _program(path, measured.get(name), keep)
        except ValueError as error:
            why = str(error)
            if name not in measured:
                why = unfit.get(name, why)
            left_out.append({"id": identity, "family": family, "why": why})
            continue

        programs.append(
            {
                "id": identity,
                "family": family,
                "program": program,
                "hints": hints_of(name, program),
                "measured": measured[name],
            }
        )

    programs.sort(key=itemgetter("id"))
    programs.sort(key=lambda program: -program["measured"]["accuracy"])
    programs = _without_copies(programs, left_out)
    by_family = _best_of_families(programs, per_family, left_out)
    left_out.sort(key=itemgetter("id"))
    return _in_turn(by_family), left_out


def _root(folder: str | Path | None) -> Path:
    """Return the folder ab/nn of a checkout."""
    if folder is None:
        raise InputError("settings: seed_corpus.lemur_folder is missing; it names a LEMUR checkout")
    folder = Path(folder)
    root = folder
    if not (root / "nn").is_dir():
        root = folder / "ab" / "nn"
    needed = (root / "nn", root / "stat")
    if not all(path.is_dir() for path in needed):
        raise InputError(
            f"{folder}: no LEMUR checkout (it has no ab/nn/nn and ab/nn/stat); see"
            " seed_corpus.lemur_folder"
        )

    return root


def read_statistics(folder: Path) -> tuple[dict[str, LemurTrial], dict[str, str]]:
    """Return (name of a program -> its best trial, name -> an accuracy that is none).

    A trial whose accuracy is no number, as where the training diverged, is none; one outside 0 to 1
    is named in the second.
    """
    best: dict[str, LemurTrial] = {}
    unfit: dict[str, str] = {}
    files = [*folder.glob(f"{TASK}_*/*.json"), *folder.glob(f"*/{TASK}_*/*.json")]
    for path in sorted(files):
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


def _trials(path: Path, dataset: str) -> Iterator[LemurTrial]:
    """Yield the trials of a file that have an accuracy."""
    trials = read_foreign_json(path)
    if not isinstance(trials, list):
        trials = [trials]

    for trial in trials:
        # To isinstance, true is an int.
        if not isinstance(trial, dict) or type(trial.get("accuracy")) not in (int, float):
            continue
        known = {"dataset": dataset, "epoch": int(path.stem)}
        for name in HYPERPARAMETERS:
            if trial.get(name) is not None:
                known[name] = trial[name]
        yield cast(LemurTrial, known)


def _program(path: Path, measured: LemurTrial | None, keep: Callable[[str], bool]) -> str:
    """Return a program in the present contract; raise ValueError, which says why not."""
    if measured is None:
        raise ValueError("no accuracy at image classification was measured")
    try:
        text = read_text(path)
    except InputError as error:
        raise ValueError(str(error)) from None

    modern = modernise(one_layout(text))
    program = f"{modern.strip()}\n"
    size = len(program.encode())
    if size > MAXIMUM_BYTES or not keep(program):
        raise ValueError("too long")
    return program


def _without_copies(programs: list[LemurProgram], left_out: list[LeftOut]) -> list[LemurProgram]:
    """Return the programs of which none is a copy of an earlier one; the others are left out."""
    first: dict[str, str] = {}
    distinct = []
    for program in programs:
        # The best come first, so of equal programs the better one stays.
        digest = text_digest(program["program"])
        same = first.setdefault(digest, program["id"])
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
        reason = reasons.get(program["id"])
        if reason:
            left_out.append(_left_out(program, reason))
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
            why = f"beyond the best {per_family} of its family"
            left_out.append(_left_out(program, why))
        else:
            of_family.append(program)

    return chosen


def _in_turn(by_family: dict[str, list[LemurProgram]]) -> list[LemurProgram]:
    """Return the first of each family, then the second of each, and so on."""
    in_order = [by_family[family] for family in sorted(by_family)]
    turns = []
    for turn in zip_longest(*in_order):
        turns += [program for program in turn if program is not None]
    return turns


def _left_out(program: LemurProgram, why: str) -> LeftOut:
    return {"id": program["id"], "family": program["family"], "why": why}
