"""Chains as results: what each measured over its repeats, what that took, how it differs from the loop."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import polars as pl

from archloop.report.groups import controls_of, differing, label, loop_of, ordered
from archloop.report.intervals import mean_interval
from archloop.report.job_records import JobRecord, seconds_of
from archloop.report.results import Results
from archloop.report.tables.candidates import FATES
from archloop.report.tables.rows import COUNT, SHARE, TEXT, Schema, schema_of, table_of, total
from archloop.report.verdict import Comparison, Verdict, compare, judge
from archloop.settings.chains import SEED, ancestors, uses_seed_adapter
from archloop.settings.sections import Report

MEASURES = ("new_good", "valid", "admitted", "test")
# Measure -> the columns of `fates` with what is counted, and of how many.
COUNTED = {
    "new_good": ("new_good", "candidates"),
    "valid": ("valid", "candidates"),
    "admitted": ("admitted", "candidates"),
    "test": ("test_sum", "test_n"),
}


@dataclass(frozen=True)
class Compared:
    """The loop, its controls (role -> runs), all groups in the order of the page, and the verdict."""

    loop: list[str]
    controls: dict[str, list[str]]
    groups: list[list[str]]
    verdict: Verdict


@dataclass(frozen=True)
class ContrastRow:
    """The loop (`reference`) minus a group of runs by one measure: a row of `contrast_table`."""

    chain: str
    reference: str
    role: str | None
    differs: str
    measure: str
    first_cycle: int
    last_cycle: int
    matched: bool
    reference_value: float
    value: float
    difference: float
    low: float | None
    high: float | None
    method: str
    p_holm: float | None
    detectable: float | None
    reference_runs: str
    runs: str


@dataclass(frozen=True)
class Budget:
    """What a run took, or the mean of some runs; see `table`."""

    gpu_seconds: float | None
    cpu_seconds: float | None
    new_tokens: float | None
    trained_tokens: float | None
    reused: float | None
    before_gpu_seconds: float | None


@dataclass(frozen=True)
class Measured:
    """What a run measured, or the mean of some runs; see `table`. None where nothing was."""

    new_good: float | None
    valid: float | None
    admitted: float | None
    test: float | None
    distinct: float | None
    accuracy: float | None
    best: float | None
    top_test: float | None


@dataclass(frozen=True)
class Group:
    """Who a group of repeats is, and over how much it is summed up."""

    dataset: str
    chain: str
    reference: str
    differs: str
    repeats: int
    cycles: int
    candidates: float
    matched: bool


MEANS = tuple(field.name for field in fields(Measured))


def compared(results: Results, fates: pl.DataFrame, settings: Report) -> Compared:
    """Return who is compared with whom, and the verdict."""
    loop = loop_of(results, settings.loop)
    controls = controls_of(results, loop, settings.controls)
    planned = {name: chain.planned for name, chain in results.chains.items()}
    verdict = judge(fates, loop, controls, planned, settings, results.random_seed)
    return Compared(loop, controls, ordered(results, loop, controls), verdict)


def against(
    results: Results,
    found: Compared,
    fates: pl.DataFrame,
    settings: Report,
    measure: str,
    names: dict[str, list[str]],
) -> dict[str, Comparison]:
    """Return name -> the loop against that group by one measure; Holm's p over all of `names`.

    measure: of MEASURES; `test` is the mean accuracy on the test set of what was admitted.
    """
    rows = fates.select("chain", "cycle", *COUNTED[measure]).iter_rows()
    counts = {(chain, cycle): (count, of) for chain, cycle, count, of in rows}
    shares = measure != "test"
    return compare(counts, found.loop, names, settings, results.random_seed, shares)


def contrast_table(
    results: Results, found: Compared, fates: pl.DataFrame, settings: Report
) -> pl.DataFrame:
    """Return the loop minus every other group on its data set, by each of MEASURES.

    Values are per 100, over the last cycles. role: of the controls, whose p values are adjusted
    together; the others, looked at besides, are adjusted together too. method: `runs` (Welch's t
    over runs), `points` (two runs or fewer: no interval), `cycles` (one run: a block bootstrap over
    its cycles). matched: a run of either side had as many candidates in these cycles.
    """
    dataset = results.chains[found.loop[0]].dataset
    taken = (found.loop, *found.controls.values())

    others = {}
    for group in found.groups:
        if results.chains[group[0]].dataset == dataset and group not in taken:
            others[group[0]] = group

    rows = []
    for measure in MEASURES:
        for names in (found.controls, others):
            comparisons = against(results, found, fates, settings, measure, names)
            for name, comparison in comparisons.items():
                contrast, cycles = comparison.contrast, comparison.cycles
                group = names[name]
                ours = _candidates(fates, found.loop, cycles)
                theirs = _candidates(fates, group, cycles)
                rows.append(
                    ContrastRow(
                        chain=", ".join(group),
                        reference=", ".join(found.loop),
                        role=name if names is found.controls else None,
                        differs=differing(results, group[0], found.loop[0]),
                        measure=measure,
                        first_cycle=cycles[0],
                        last_cycle=cycles[-1],
                        matched=ours == theirs,
                        reference_value=float(np.mean(contrast.loop)),
                        value=float(np.mean(contrast.control)),
                        difference=contrast.difference,
                        low=contrast.low,
                        high=contrast.high,
                        method=contrast.method,
                        p_holm=contrast.p,
                        detectable=contrast.detectable,
                        reference_runs=_listed(contrast.loop),
                        runs=_listed(contrast.control),
                    )
                )

    return table_of(ContrastRow, rows)


def table(
    results: Results, found: Compared, fates: pl.DataFrame, cells: pl.DataFrame
) -> pl.DataFrame:
    """Return one row a group of repeats, over the cycles that it and its reference finished.

    That is the first group on its data set. Measures are means over the runs, `_low` and `_high`
    their 95 % t interval over runs, cut at 0 and 1; null for one run; `_n` the number of runs that
    have a value. new_good, valid, admitted, distinct: of the generated. test: mean accuracy on the
    test set of the admitted. accuracy, best: of the valid, on the validation split. top_test: test
    accuracy of the best admitted. Budgets are means of a run: candidates; seconds of jobs on a GPU
    and on processors; new_tokens that the model wrote; trained_tokens; reused, of the evaluations,
    which cost nothing; before_gpu_seconds of cycle 0 and the chains that it starts from, which
    others may share. matched: as many candidates a run as the first group had in these cycles.
    """
    ends = [f"{name}{end}" for name in MEANS for end in ("", "_low", "_high")]
    schema: Schema = {
        **schema_of(Group),
        **schema_of(Budget),
        **dict.fromkeys(ends, SHARE),
        **{f"{name}_n": COUNT for name in MEANS},
    }

    whole = fates.join(cells, on=["chain", "cycle"], how="left", maintain_order="left")

    references: dict[str, list[str]] = {}
    rows = []
    for group in found.groups:
        if not all(results.chains[name].cycles for name in group):
            continue
        reference = references.setdefault(results.chains[group[0]].dataset, group)
        common = _common(results, [*group, *reference])
        cycles = whole.filter(pl.col("cycle").is_in(common))
        measured = [_measured(cycles.filter(chain=name)) for name in group]
        row = {
            **asdict(_group(results, fates, group, reference, common)),
            **asdict(_mean_budget([_budget(results, name, common) for name in group])),
        }

        for name in MEANS:
            row |= _mean_columns(name, [getattr(run, name) for run in measured])
        rows.append(row)

    return pl.DataFrame(rows, schema=schema)


def _group(
    results: Results,
    fates: pl.DataFrame,
    group: list[str],
    reference: list[str],
    common: list[int],
) -> Group:
    own = _candidates(fates, group, common)
    return Group(
        dataset=results.chains[group[0]].dataset,
        chain=", ".join(group),
        reference=", ".join(reference),
        differs="" if group is reference else differing(results, group[0], reference[0]),
        repeats=len(group),
        cycles=len(common),
        candidates=own,
        matched=own == _candidates(fates, reference, common),
    )


def _mean_columns(name: str, values: Iterable[float | None]) -> dict[str, Any]:
    """Return the columns of one measure: mean over runs, its interval, and how many runs."""
    known = [value for value in values if value is not None]
    low = high = None
    interval = mean_interval(known)
    if interval:
        low, high = max(interval[0], 0.0), min(interval[1], 1.0)
    return {
        name: _mean(known),
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_n": len(known),
    }


def cells(valid: pl.DataFrame) -> pl.DataFrame:
    """Return what a cycle's valid candidates scored.

    That is the sum and the best accuracy, and the best admitted with its test accuracy.
    """
    best_first = valid.sort(["accuracy", "id"], descending=[True, False])
    admitted = pl.col("outcome") == "admitted"

    return best_first.group_by("chain", "cycle", maintain_order=True).agg(
        accuracy_sum=pl.col("accuracy").sum(),
        best=pl.col("accuracy").max(),
        top=pl.col("accuracy").filter(admitted).first(),
        top_test=pl.col("test_accuracy").filter(admitted).first(),
    )


def chains(
    results: Results, found: Compared, fates: pl.DataFrame, architectures: pl.DataFrame
) -> pl.DataFrame:
    """Return one row a chain, in the order of the groups.

    It says how far the chain came, its fates, and its best admitted design: top and top_test are
    validation and test accuracy of that.
    """
    rows = []
    for group in found.groups:
        for name in group:
            chain = results.chains[name]
            row = {
                "chain": name,
                "group": label(group),
                "dataset": chain.dataset,
                "start": chain.start,
                "source": chain.source,
                "planned": chain.planned,
                "finished": len(chain.cycles),
            }
            rows.append(row)

    texts = ("chain", "group", "dataset", "start", "source")
    schema: Schema = {**dict.fromkeys(texts, TEXT), "planned": COUNT, "finished": COUNT}
    counts = ("candidates", "valid", "admitted", "distinct", *FATES)
    sums = fates.group_by("chain").agg(pl.col(counts).sum())
    tops = architectures.filter(rank=1).select(
        "chain", top_id="id", top="accuracy", top_test="test_accuracy"
    )

    return (
        pl.DataFrame(rows, schema=schema)
        .join(sums, on="chain", how="left", maintain_order="left")
        .join(tops, on="chain", how="left", maintain_order="left")
    )


def _common(results: Results, names: list[str]) -> list[int]:
    """Return the cycles that all these runs finished."""
    common = set(results.chains[names[0]].cycles)
    for name in names[1:]:
        common &= set(results.chains[name].cycles)
    return sorted(common)


def _candidates(fates: pl.DataFrame, group: list[str], common: list[int]) -> float:
    """Return how many candidates a run of a group had in these cycles, on average."""
    own = fates.filter(pl.col("chain").is_in(group), pl.col("cycle").is_in(common))
    return total(own, "candidates") / len(group)


def _measured(cycles: pl.DataFrame) -> Measured:
    """Return what one run measured. cycles: its rows of `fates` with those of `cells`."""
    sums = cycles.sum().row(0, named=True)
    best_first = cycles.drop_nulls("top").sort(["top", "cycle"], descending=[True, False])
    best = best_first.head(1).to_dicts()
    of_all = cycles.select(pl.col("best").max()).item()

    return Measured(
        new_good=_share(sums["new_good"], sums["candidates"]),
        valid=_share(sums["valid"], sums["candidates"]),
        admitted=_share(sums["admitted"], sums["candidates"]),
        test=_share(sums["test_sum"], sums["test_n"]),
        distinct=_share(sums["distinct"], sums["candidates"]),
        accuracy=_share(sums["accuracy_sum"], sums["valid"]),
        best=of_all,
        top_test=best[0]["top_test"] if best else None,
    )


def _share(count: float, of: int) -> float | None:
    return count / of if of else None


def _budget(results: Results, chain: str, common: list[int]) -> Budget:
    own = [job for job in results.jobs if job.chain == chain and job.cycle in common]
    return Budget(
        gpu_seconds=seconds_of(own, on_gpu=True),
        cpu_seconds=seconds_of(own, on_gpu=False),
        new_tokens=sum(job.new_tokens for job in own),
        trained_tokens=sum(job.trained_tokens for job in own),
        reused=sum(job.reused for job in own),
        before_gpu_seconds=_before_gpu_seconds(results, chain),
    )


def _before_gpu_seconds(results: Results, chain: str) -> float | None:
    """Return what was spent before a chain began; None where the folder does not say on what."""
    if not results.settings:
        return None

    before = dict(ancestors(results.settings, chain))
    seed_adapter = uses_seed_adapter(results.settings, [chain, *before])

    def counts(job: JobRecord) -> bool:
        if (job.chain, job.stage) == (SEED, "finetune") and not seed_adapter:
            return False
        return job.cycle <= before.get(job.chain, -1)

    return seconds_of(filter(counts, results.jobs), on_gpu=True)


def _mean_budget(budgets: list[Budget]) -> Budget:
    means = {}
    for field in fields(Budget):
        means[field.name] = _mean([getattr(budget, field.name) for budget in budgets])
    return Budget(**means)


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where one of the values is not known, or there are none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return statistics.fmean(known)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
