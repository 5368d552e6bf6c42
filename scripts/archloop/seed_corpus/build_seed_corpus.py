"""The seed corpus: programs that were measured as any candidate is, each with its prompt."""

import polars as pl

from archloop.corpus.candidate_rows import CandidateRow, program_of
from archloop.corpus.tables import CORPUS, frame_of
from archloop.data.dataset_file import DatasetMetadata
from archloop.errors import InputError
from archloop.generation.prompts import PromptTexts, Task, seed_prompt
from archloop.novelty.gate import AMONG_SEEDS, near_copies
from archloop.seed_corpus.lemur_records import LeftOut


def build_seed_corpus(
    rows: list[CandidateRow],
    dataset: DatasetMetadata,
    texts: PromptTexts,
    task: Task,
) -> tuple[pl.DataFrame, list[LeftOut]]:
    """Return (corpus rows in the order of the programs, what was dropped and why).

    rows: the programs, which have a family, with their evaluations. texts, task: of the prompts.
    Dropped is what does not train, what is over the budget that its prompt states, and near-copies
    of an earlier program.
    """
    rows = sorted(rows, key=lambda row: row["index"])
    reasons = _unfit(rows, task.parameter_budget)
    fit = [row for row in rows if row["id"] not in reasons]
    # Among these alone, or a program might be dropped as the copy of one that is dropped, too.
    copies, signatures = near_copies(
        [row["id"] for row in fit],
        [program_of(row) for row in fit],
        [row["graph_digest"] for row in fit],
        AMONG_SEEDS,
    )

    reasons |= copies
    kept = []
    for row, signature in zip(fit, signatures):
        if row["id"] in copies:
            continue
        admitted: CandidateRow = {
            **row,
            "outcome": "admitted",
            "dataset": dataset.name,
            "prompt": seed_prompt(texts, task, row),
            "signature": signature,
            "shingle_tokens": AMONG_SEEDS.shingle_tokens,
        }
        kept.append(admitted)

    dropped = _dropped(rows, reasons)
    if not kept:
        why = dropped[0]["why"] if dropped else "there were none"
        raise InputError(
            f"no program of the seed corpus is left ({why}); see seed_corpus and evaluation in the"
            " settings"
        )

    return frame_of(kept, CORPUS), dropped


def _unfit(rows: list[CandidateRow], budget: int) -> dict[str, str]:
    """Return id -> why, for the programs that do not train or are over the budget."""
    reasons = {}
    for row in rows:
        parameters = row["parameters"] or 0
        if row["outcome"] != "trained":
            reasons[row["id"]] = f"{row['outcome']}: {row['detail']}"
        elif parameters > budget:
            reasons[row["id"]] = f"{parameters} parameters, the prompt allows {budget}"

    return reasons


def _dropped(rows: list[CandidateRow], reasons: dict[str, str]) -> list[LeftOut]:
    dropped: list[LeftOut] = []
    for row in rows:
        if row["id"] in reasons:
            dropped.append({"id": row["id"], "family": row["family"], "why": reasons[row["id"]]})
    return dropped
