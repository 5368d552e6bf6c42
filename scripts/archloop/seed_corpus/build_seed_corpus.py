"""The seed corpus: programs that were measured as any candidate is, each with the prompt that it answers."""

import polars as pl

from archloop.corpus.admit import join
from archloop.corpus.tables import CORPUS
from archloop.errors import InputError
from archloop.generation.write_prompts import PromptTexts, Task, seed_prompt
from archloop.novelty.neighbours import AMONG_SEEDS, near_copies


def build_seed_corpus(
    programs: list[dict],
    records: list[dict],
    dataset: dict,
    texts: PromptTexts,
    task: Task,
) -> tuple[pl.DataFrame, list[dict]]:
    """Return (corpus rows in the order of the programs, what was dropped and why).

    programs: rows with id, family and program. texts, task: of the prompts. Dropped is what does
    not train, what is over the budget that its prompt states, and near-copies of an earlier program.
    """
    rows = sorted(join(programs, records), key=lambda row: row["index"])
    reasons = {row["id"]: _unfit(row, task.parameter_budget) for row in rows}
    fit = [row for row in rows if reasons[row["id"]] is None]
    copies, signatures = near_copies(fit, AMONG_SEEDS)
    reasons |= copies
    kept = []
    for row, signature in zip(fit, signatures):
        if reasons[row["id"]] is None:
            row |= {
                "signature": signature,
                "shingle_tokens": AMONG_SEEDS["shingle_tokens"],
                "outcome": "admitted",
            }
            row |= {"prompt": seed_prompt(texts, task, row)}
            kept.append({name: row.get(name) for name in CORPUS} | {"dataset": dataset["name"]})
    dropped = [
        {"id": row["id"], "family": row["family"], "why": reasons[row["id"]]}
        for row in rows
        if reasons[row["id"]]
    ]
    if not kept:
        why = dropped[0]["why"] if dropped else "there were none"
        raise InputError(
            f"no program of the seed corpus is left ({why}); see seed_corpus and evaluation in the settings"
        )
    return pl.DataFrame(kept, schema=CORPUS), dropped


def _unfit(row: dict, budget: int) -> str | None:
    if row["outcome"] != "trained":
        return f"{row['outcome']}: {row['detail']}"
    if row["parameters"] > budget:
        return f"{row['parameters']} parameters, the prompt allows {budget}"
    return None
