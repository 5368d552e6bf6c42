"""Chains as results: what each measured over its repeats, and what that took, so that like is compared with like."""

import statistics

import polars as pl

from archloop.chains import SEED, ancestors, uses_seed_adapter
from archloop.intervals import mean_interval
from archloop.report_compare import differing, repeat_groups
from archloop.report_input import Results
from archloop.report_tables import COUNT, SHARE, TEXT, frame

MEASURES = ("valid", "yield", "at_threshold", "new_above", "accuracy", "best", "top_test")
BUDGETS = ("gpu_seconds", "new_tokens", "trained_tokens", "reused", "before_gpu_seconds")


def table(results: Results, cycles: pl.DataFrame, valid: pl.DataFrame) -> pl.DataFrame:
    """Return one row a group of repeats, over the cycles that all of them and the first group on its data set finished.

    Measures (report_compare's; best: of the valid, top_test: test accuracy of the best admitted) are means over the
    repeats, `_low` and `_high` their 95 % t interval, cut at 0 and 1: over runs, not over candidates; null for one
    run. `_n`: the runs that have the measure. Budgets are means of a run: candidates; gpu_seconds; new_tokens that
    the model wrote; trained_tokens that it was fine-tuned on; reused, of the evaluations, which cost nothing;
    before_gpu_seconds of cycle 0 and the chains that it starts from, which others may share. matched: as many
    candidates a run as the first group had in these cycles.
    """
    schema = {"dataset": TEXT, "chain": TEXT, "reference": TEXT, "differs": TEXT, "repeats": COUNT, "cycles": COUNT}
    schema |= {"candidates": SHARE, "matched": pl.Boolean} | dict.fromkeys(BUDGETS, SHARE)
    schema |= {f"{name}{end}": SHARE for name in MEASURES for end in ("", "_low", "_high")}
    schema |= {f"{name}_n": COUNT for name in MEASURES}
    rows, first = [], {}
    for group in repeat_groups(results):
        if not all(results.chains[name]["cycles"] for name in group):
            continue
        dataset = results.chains[group[0]]["dataset"]
        reference = first.setdefault(dataset, group)
        common = set.intersection(*(set(results.chains[name]["cycles"]) for name in {*group, *reference}))
        counts = [_candidates(cycles, members, common) for members in (group, reference)]
        row = {"dataset": dataset, "chain": ", ".join(group), "repeats": len(group), "cycles": len(common)}
        row |= {"candidates": counts[0], "reference": ", ".join(reference), "matched": counts[0] == counts[1]}
        row |= {"differs": "" if group is reference else differing(results, group[0], reference[0])}
        budgets = [_budget(results, name, common) for name in group]
        row |= {name: _mean([budget[name] for budget in budgets]) for name in BUDGETS}
        measured = [_measured(results, cycles, valid, name, common) for name in group]
        for name in MEASURES:
            values = [run[name] for run in measured if run[name] is not None]
            row |= {name: _mean(values), f"{name}_n": len(values)}
            ends = [min(max(end, 0.0), 1.0) for end in mean_interval(values) or ()] or (None, None)
            row |= dict(zip((f"{name}_low", f"{name}_high"), ends))
        rows.append(row)
    return frame(rows, schema)


def _candidates(cycles: pl.DataFrame, group: list[str], common: set[int]) -> float:
    own = cycles.filter(pl.col("chain").is_in(group), pl.col("cycle").is_in(common))
    return own["candidates"].sum() / len(group)


def _measured(results: Results, cycles: pl.DataFrame, valid: pl.DataFrame, chain: str, common: set[int]) -> dict:
    own = cycles.filter(pl.col("cycle").is_in(common), chain=chain)
    judged = valid.filter(pl.col("cycle").is_in(common), chain=chain)
    total = own["candidates"].sum()
    top = judged.filter(outcome="admitted").sort(["accuracy", "id"], descending=[True, False]).head(1)
    return {
        "valid": judged.height / total if total else None,
        "yield": own["admitted"].sum() / total if total else None,
        "at_threshold": own["at_threshold_count"].sum() / judged.height if judged.height else None,
        "new_above": judged.filter(kind="new_above").height / judged.height if judged.height else None,
        "accuracy": judged["accuracy"].mean(),
        "best": judged["accuracy"].max(),
        "top_test": top["test_accuracy"][0] if top.height else None,
    }


def _budget(results: Results, chain: str, common: set[int]) -> dict:
    own = [run for run in results.runs if run["chain"] == chain and run["cycle"] in common]
    before = dict(ancestors(results.settings, chain)) if results.settings else None
    earlier = [run for run in results.runs if before and run["cycle"] <= before.get(run["chain"], -1)]
    if before and not uses_seed_adapter(results.settings, [chain, *before]):
        earlier = [run for run in earlier if (run["chain"], run["stage"]) != (SEED, "finetune")]
    return {
        "gpu_seconds": _gpu_seconds(own),
        "new_tokens": sum(run.get("new_tokens") or 0 for run in own),
        "trained_tokens": sum(run.get("tokens") or 0 for run in own),
        "reused": sum(run.get("reused") or 0 for run in own),
        "before_gpu_seconds": None if before is None else _gpu_seconds(earlier),
    }


def _gpu_seconds(runs: list[dict]) -> float:
    return sum((run.get("seconds") or 0.0 for run in runs if run.get("device") not in (None, "cpu")), 0.0)


def _mean(values: list) -> float | None:
    return statistics.fmean(values) if values and None not in values else None
