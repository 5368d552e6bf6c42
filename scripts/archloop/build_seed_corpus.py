"""The seed corpus: programs that were measured as any candidate is, each with the prompt that it answers."""

import jinja2
import polars as pl

from archloop.admit import join
from archloop.corpus import CORPUS
from archloop.errors import InputError
from archloop.novelty import Index, signature
from archloop.prompts import seed_prompt


def build_seed_corpus(
    programs: list[dict],
    records: list[dict],
    dataset: dict,
    template: jinja2.Template,
    hints: dict[str, str],
    goal: dict,
    novelty: dict,
) -> tuple[pl.DataFrame, list[dict]]:
    """Return (corpus rows in the order of the programs, what was dropped and why).

    programs: rows with id, family and program. goal: epochs and parameter_budget, for the prompts. Dropped is what does
    not train, what is over the budget that its prompt states, and near-copies of an earlier program.
    """
    index = Index(novelty["threshold"], novelty["shingle_tokens"])
    kept, dropped = [], []
    for row in join(sorted(programs, key=lambda row: row["index"]), records):
        why = None
        if row["outcome"] != "trained":
            why = f"{row['outcome']}: {row['detail']}"
        elif row["parameters"] > goal["parameter_budget"]:
            why = f"{row['parameters']} parameters, the prompt allows {goal['parameter_budget']}"
        else:
            found = index.nearest(row["program"])
            if found.id and found.exact and found.similarity >= novelty["threshold"]:
                why = f"near-copy of {found.id} ({found.similarity:.3f})"
        if why:
            dropped.append({"id": row["id"], "family": row["family"], "why": why})
            continue
        row["signature"] = signature(row["program"], novelty["shingle_tokens"])
        index.add(row["id"], row["program"], row["signature"])
        row |= {"outcome": "admitted", "prompt": seed_prompt(template, hints, dataset, goal, row)}
        kept.append({name: row.get(name) for name in CORPUS} | {"dataset": dataset["name"]})
    if not kept:
        why = dropped[0]["why"] if dropped else "there were none"
        raise InputError(
            f"no program of the seed corpus is left ({why}); see seed_corpus and evaluation in the settings"
        )
    return pl.DataFrame(kept, schema=CORPUS), dropped
