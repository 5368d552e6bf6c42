"""Chains as results: what each measured over its repeats, what that took, and how it differs from the loop."""

import statistics
from dataclasses import dataclass

import numpy as np
import polars as pl

from archloop.report.contrasts import Contrast
from archloop.report.groups import controls_of, differing, label, loop_of, ordered
from archloop.report.intervals import mean_interval
from archloop.report.results import Results
from archloop.report.tables.per_cycle import COUNT, FATES, SHARE, TEXT, frame
from archloop.report.verdict import Verdict, compare, judge
from archloop.settings.chains import SEED, ancestors, uses_seed_adapter

MEASURES = ("new_good", "valid", "admitted", "test")
MEANS = (*MEASURES, "distinct", "accuracy", "best", "top_test")
BUDGETS = (
    "gpu_seconds",
    "cpu_seconds",
    "new_tokens",
    "trained_tokens",
    "reused",
    "before_gpu_seconds",
)
OF = {"new_good": "candidates", "valid": "candidates", "admitted": "candidates", "test": "test_n"}
COUNTED = {"test": "test_sum"}


@dataclass(frozen=True)
class Compared:
    """The loop, its controls (role -> runs), all groups in the order of the page, and the verdict."""

    loop: list[str]
    controls: dict[str, list[str]]
    groups: list[list[str]]
    verdict: Verdict


def compared(results: Results, fates: pl.DataFrame, settings: dict) -> Compared:
    """Return who is compared with whom, and the verdict. settings: section report."""
    loop = loop_of(results, settings["loop"])
    controls = controls_of(results, loop, settings["controls"])
    planned = {name: facts["planned"] for name, facts in results.chains.items()}
    verdict = judge(
        fates, loop, controls, planned, settings, results.settings.get("random_seed", 0)
    )
    return Compared(loop, controls, ordered(results, loop, controls), verdict)


def against(
    results: Results,
    found: Compared,
    fates: pl.DataFrame,
    settings: dict,
    measure: str,
    names: dict[str, list[str]],
) -> dict[str, tuple[Contrast, list[int]]]:
    """Return name -> (the loop minus that group by one measure, the cycles compared); Holm's p over all of `names`.

    measure: of MEASURES; `test` is the mean accuracy on the test set of what was admitted.
    """
    rows = {
        (row["chain"], row["cycle"]): (row[COUNTED.get(measure, measure)], row[OF[measure]])
        for row in fates.iter_rows(named=True)
    }
    return compare(
        rows,
        found.loop,
        names,
        settings,
        results.settings.get("random_seed", 0),
        shares=measure != "test",
    )


def contrast_table(
    results: Results, found: Compared, fates: pl.DataFrame, settings: dict
) -> pl.DataFrame:
    """Return the loop minus every other group on its data set, by each of MEASURES, per 100, over the last cycles.

    role: of the controls, whose p values are adjusted together; the others, looked at besides, are adjusted together
    too. method: `runs` (Welch's t over runs), `points` (two runs or fewer: no interval), `cycles` (one run: a block
    bootstrap over its cycles). matched: a run of either side had as many candidates in these cycles.
    """
    schema = {
        "chain": TEXT,
        "reference": TEXT,
        "role": TEXT,
        "differs": TEXT,
        "measure": TEXT,
        "first_cycle": COUNT,
    }
    schema |= {"last_cycle": COUNT, "matched": pl.Boolean, "reference_value": SHARE, "value": SHARE}
    schema |= {
        "difference": SHARE,
        "low": SHARE,
        "high": SHARE,
        "method": TEXT,
        "p_holm": SHARE,
        "detectable": SHARE,
    }
    schema |= {"reference_runs": TEXT, "runs": TEXT}
    dataset = results.chains[found.loop[0]]["dataset"]
    same = [group for group in found.groups if results.chains[group[0]]["dataset"] == dataset]
    others = {
        group[0]: group for group in same if group not in (found.loop, *found.controls.values())
    }
    rows = []
    for measure in MEASURES:
        for names in (found.controls, others):
            for name, (each, cycles) in against(
                results, found, fates, settings, measure, names
            ).items():
                group = names[name]
                counts = [_candidates(fates, members, cycles) for members in (found.loop, group)]
                row = {
                    "chain": ", ".join(group),
                    "reference": ", ".join(found.loop),
                    "measure": measure,
                }
                row |= {
                    "role": name if names is found.controls else None,
                    "matched": counts[0] == counts[1],
                }
                row |= {"differs": differing(results, group[0], found.loop[0])}
                row |= {
                    "first_cycle": cycles[0],
                    "last_cycle": cycles[-1],
                    "difference": each.difference,
                }
                row |= {"low": each.low, "high": each.high, "method": each.method, "p_holm": each.p}
                row |= {
                    "reference_value": float(np.mean(each.loop)),
                    "value": float(np.mean(each.control)),
                }
                row |= {"detectable": each.detectable, "runs": _listed(each.control)}
                rows.append(row | {"reference_runs": _listed(each.loop)})
    return frame(rows, schema)


def table(
    results: Results, found: Compared, fates: pl.DataFrame, cells: pl.DataFrame
) -> pl.DataFrame:
    """Return one row a group of repeats, over the cycles that it and the first group on its data set finished.

    Measures are means over the runs, `_low` and `_high` their 95 % t interval over runs, cut at 0 and 1; null for one
    run. new_good, valid, admitted, distinct: of the generated. test: mean accuracy on the test set of the admitted.
    accuracy, best: of the valid, on the validation split. top_test: test accuracy of the best admitted. Budgets are
    means of a run: candidates; seconds of jobs on a GPU and on processors; new_tokens that the model wrote;
    trained_tokens; reused, of the evaluations, which cost nothing; before_gpu_seconds of cycle 0 and the chains that it
    starts from, which others may share. matched: as many candidates a run as the first group had in these cycles.
    """
    schema = {
        "dataset": TEXT,
        "chain": TEXT,
        "reference": TEXT,
        "differs": TEXT,
        "repeats": COUNT,
        "cycles": COUNT,
    }
    schema |= {"candidates": SHARE, "matched": pl.Boolean} | dict.fromkeys(BUDGETS, SHARE)
    schema |= {f"{name}{end}": SHARE for name in MEANS for end in ("", "_low", "_high")}
    schema |= {f"{name}_n": COUNT for name in MEANS}
    rows, first = [], {}
    whole = fates.join(cells, on=["chain", "cycle"], how="left", maintain_order="left")
    for group in found.groups:
        if not all(results.chains[name]["cycles"] for name in group):
            continue
        dataset = results.chains[group[0]]["dataset"]
        reference = first.setdefault(dataset, group)
        common = _common(results, [*group, *reference])
        counts = [_candidates(fates, members, common) for members in (group, reference)]
        row = {
            "dataset": dataset,
            "chain": ", ".join(group),
            "repeats": len(group),
            "cycles": len(common),
        }
        row |= {
            "candidates": counts[0],
            "reference": ", ".join(reference),
            "matched": counts[0] == counts[1],
        }
        row |= {"differs": "" if group is reference else differing(results, group[0], reference[0])}
        budgets = [_budget(results, name, common) for name in group]
        row |= {name: _mean([budget[name] for budget in budgets]) for name in BUDGETS}
        measured = [
            _measured(whole.filter(pl.col("cycle").is_in(common), chain=name)) for name in group
        ]
        for name in MEANS:
            values = [run[name] for run in measured if run[name] is not None]
            row |= {name: _mean(values), f"{name}_n": len(values)}
            ends = [min(max(end, 0.0), 1.0) for end in mean_interval(values) or ()] or (None, None)
            row |= dict(zip((f"{name}_low", f"{name}_high"), ends))
        rows.append(row)
    return frame(rows, schema)


def cells(valid: pl.DataFrame) -> pl.DataFrame:
    """Return what a cycle's valid candidates scored: sum and best accuracy, and the best admitted with its test."""
    top = pl.col("accuracy").filter(outcome="admitted")
    return (
        valid.sort(["accuracy", "id"], descending=[True, False])
        .group_by("chain", "cycle", maintain_order=True)
        .agg(
            pl.col("accuracy").sum().alias("accuracy_sum"),
            pl.col("accuracy").max().alias("best"),
            top.first().alias("top"),
            pl.col("test_accuracy").filter(outcome="admitted").first().alias("top_test"),
        )
    )


def chains(
    results: Results, found: Compared, fates: pl.DataFrame, architectures: pl.DataFrame
) -> pl.DataFrame:
    """Return one row a chain, in the order of the groups: how far it came, its fates, its best admitted design.

    top and top_test: validation and test accuracy of the best admitted design.
    """
    schema = {
        "chain": TEXT,
        "group": TEXT,
        "dataset": TEXT,
        "start": TEXT,
        "source": TEXT,
        "planned": COUNT,
    }
    schema |= {"finished": COUNT} | dict.fromkeys(
        ("candidates", "valid", "admitted", "distinct", *FATES), COUNT
    )
    schema |= {"top_id": TEXT, "top": SHARE, "top_test": SHARE}
    best = architectures.filter(rank=1).select(
        "chain", top_id="id", top="accuracy", top_test="test_accuracy"
    )
    tops = {row["chain"]: row for row in best.iter_rows(named=True)}
    sums = {row["chain"]: row for row in fates.group_by("chain").sum().iter_rows(named=True)}
    rows = []
    for group in found.groups:
        for name in group:
            facts = results.chains[name]
            row = {"chain": name, "group": label(group), "finished": len(facts["cycles"])}
            row |= {key: facts[key] for key in ("dataset", "start", "source", "planned")}
            rows.append(sums.get(name, {}) | tops.get(name, {}) | row)
    return frame(rows, schema)


def _common(results: Results, names: list[str]) -> list[int]:
    return sorted(set.intersection(*(set(results.chains[name]["cycles"]) for name in names)))


def _candidates(fates: pl.DataFrame, group: list[str], common: list[int]) -> float:
    own = fates.filter(pl.col("chain").is_in(group), pl.col("cycle").is_in(common))
    return own["candidates"].sum() / len(group)


def _measured(own: pl.DataFrame) -> dict:
    sums = own.sum().row(0, named=True)
    top = own.drop_nulls("top").sort(["top", "cycle"], descending=[True, False]).head(1)
    total = sums["candidates"]
    found = {
        name: sums[name] / total if total else None
        for name in ("new_good", "valid", "admitted", "distinct")
    }
    return found | {
        "test": sums["test_sum"] / sums["test_n"] if sums["test_n"] else None,
        "accuracy": sums["accuracy_sum"] / sums["valid"] if sums["valid"] else None,
        "best": own["best"].max(),
        "top_test": top["top_test"][0] if top.height else None,
    }


def _budget(results: Results, chain: str, common: list[int]) -> dict:
    own = [run for run in results.runs if run["chain"] == chain and run["cycle"] in common]
    before = dict(ancestors(results.settings, chain)) if results.settings else None
    earlier = [
        run for run in results.runs if before and run["cycle"] <= before.get(run["chain"], -1)
    ]
    if before and not uses_seed_adapter(results.settings, [chain, *before]):
        earlier = [run for run in earlier if (run["chain"], run["stage"]) != (SEED, "finetune")]
    return {
        "gpu_seconds": seconds(own, gpu=True),
        "cpu_seconds": seconds(own, gpu=False),
        "new_tokens": sum(run.get("new_tokens") or 0 for run in own),
        "trained_tokens": sum(run.get("tokens") or 0 for run in own),
        "reused": sum(run.get("reused") or 0 for run in own),
        "before_gpu_seconds": None if before is None else seconds(earlier, gpu=True),
    }


def seconds(runs: list[dict], gpu: bool) -> float:
    """Return what the jobs on a GPU took, or the others."""
    return sum(
        (
            run.get("seconds") or 0.0
            for run in runs
            if (run.get("device") not in (None, "cpu")) == gpu
        ),
        0.0,
    )


def _mean(values: list) -> float | None:
    return statistics.fmean(values) if values and None not in values else None


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
