"""Which programs are preferred to which: the judge's own verdicts on the candidates of a cycle.

Preferred are the programs that sft would repeat. Dispreferred are candidates of the cycle that have a program and
failed for a fault of their own: the outcomes in `finetuning.dispreferred`. By default these are the faults of a program
that parses. What does not parse is often cut off rather than wrong; time, memory and a crash may be the machine's; a
program below the threshold works, and a near-copy works well.
"""

from archloop.random_seeds import generator


def compared(
    method: str, rows: list[dict], candidates: list[dict], dispreferred: list[str], seed: int
) -> tuple[list[dict], int]:
    """Return (what to train on, number of failed programs that found no place in it).

    rows: preferred ones, with prompt, program and score; candidates: with prompt, program and outcome. What comes back
    has prompt, program, worse, good and score. sft: the rows. kto: the rows and, none twice, at most as many failed
    programs (good: false). dpo: for each failed program one row that answers the very same prompt, taken in turn
    (worse).
    """
    good = [
        {key: row[key] for key in ("prompt", "program", "score")} | {"worse": None, "good": True}
        for row in rows
    ]
    if method == "sft":
        return good, 0
    dice = generator(seed, "dispreferred")
    failed = list(
        {
            (row["prompt"], row["program"]): {"prompt": row["prompt"], "program": row["program"]}
            for row in candidates
            if row["outcome"] in dispreferred and row["program"]
        }.values()
    )
    dice.shuffle(failed)
    if method == "kto":
        bad = failed[: len(good)]
        return good + [row | {"score": 0.0, "worse": None, "good": False} for row in bad], len(
            failed
        ) - len(bad)
    by_prompt: dict[str, list[dict]] = {}
    for row in good:
        by_prompt.setdefault(row["prompt"], []).append(row)
    for same in by_prompt.values():
        dice.shuffle(same)
    taken = dict.fromkeys(by_prompt, 0)
    pairs = []
    for row in failed:
        if row["prompt"] in by_prompt:
            same = by_prompt[row["prompt"]]
            pairs.append(same[taken[row["prompt"]] % len(same)] | {"worse": row["program"]})
            taken[row["prompt"]] += 1
    return pairs, len(failed) - len(pairs)
