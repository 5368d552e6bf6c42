"""Chains as results: what each measured over its repeats, what that took, how it differs."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import polars as pl

from archloop.report.groups import differing, label
from archloop.report.intervals import mean_interval
from archloop.report.job_records import JobRecord, seconds_of
from archloop.report.results import Results
from archloop.report.tables.comparisons import Compared, candidates_a_run
from archloop.report.tables.per_candidate import FATES
from archloop.report.tables.typed_tables import (
    COUNT,
    SHARE,
    TEXT,
    Schema,
    best_first,
    schema_of,
)
from archloop.settings.chains import SEED, ancestors, uses_seed_adapter


@dataclass(frozen=True)
class Budget:
    """What a run took, or the mean of some runs; see `mean_table`."""

    gpu_seconds: float | None
    cpu_seconds: float | None
    new_tokens: float | None
    trained_tokens: float | None
    reused: float | None
    before_gpu_seconds: float | None


@dataclass(frozen=True)
class Measured:
    """What a run measured, or the mean of some runs; see `mean_table`. None where nothing was."""

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


def mean_table(
    results: Results, sides: Compared, fates: pl.DataFrame, cells: pl.DataFrame
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
    schema = _schema()

    whole = fates.join(cells, on=["chain", "cycle"], how="left", maintain_order="left")

    # Groups come in the order of the page, so the first one on a data set is its reference.
    references: dict[str, list[str]] = {}
    rows = []
    for group in sides.groups:
        of_runs = [results.chains[name] for name in group]
        if not all(run.cycles for run in of_runs):
            continue
        reference = references.setdefault(of_runs[0].dataset, group)
        common = _common(results, [*group, *reference])
        cycles = whole.filter(pl.col("cycle").is_in(common))

        measured = []
        budgets = []
        for name in group:
            measured.append(_measured(cycles.filter(chain=name)))
            budgets.append(_budget(results, name, common))

        row = {
            **asdict(_group(results, fates, group, reference, common)),
            **asdict(_mean_budget(budgets)),
        }
        for name in MEANS:
            values = [getattr(run, name) for run in measured]
            row |= _mean_columns(name, values)
        rows.append(row)

    return pl.DataFrame(rows, schema=schema)


def _schema() -> Schema:
    """Return the columns of `mean_table`, in their order."""
    columns: Schema = {**schema_of(Group), **schema_of(Budget)}
    for name in MEANS:
        columns |= dict.fromkeys((name, f"{name}_low", f"{name}_high"), SHARE)
    for name in MEANS:
        columns[f"{name}_n"] = COUNT
    return columns


def _group(
    results: Results,
    fates: pl.DataFrame,
    group: list[str],
    reference: list[str],
    common: list[int],
) -> Group:
    candidates = candidates_a_run(fates, group, common)
    differs = ""
    if group is not reference:
        differs = differing(results, group[0], reference[0])
    return Group(
        dataset=results.chains[group[0]].dataset,
        chain=", ".join(group),
        reference=", ".join(reference),
        differs=differs,
        repeats=len(group),
        cycles=len(common),
        candidates=candidates,
        matched=candidates == candidates_a_run(fates, reference, common),
    )


def _mean_columns(name: str, values: Iterable[float | None]) -> dict[str, float | None]:
    """Return the columns of one measure: mean over runs, its interval, and how many runs."""
    known = [value for value in values if value is not None]
    low = high = None
    interval = mean_interval(known)
    if interval:
        low, high = interval
        low = max(low, 0.0)
        high = min(high, 1.0)
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
    admitted = pl.col("outcome") == "admitted"
    by_cycle = best_first(valid).group_by("chain", "cycle", maintain_order=True)

    return by_cycle.agg(
        accuracy_sum=pl.col("accuracy").sum(),
        best=pl.col("accuracy").max(),
        top=pl.col("accuracy").filter(admitted).first(),
        top_test=pl.col("test_accuracy").filter(admitted).first(),
    )


def chains(
    results: Results, sides: Compared, fates: pl.DataFrame, architectures: pl.DataFrame
) -> pl.DataFrame:
    """Return one row a chain, in the order of the groups.

    It says how far the chain came, its fates, and its best admitted design: top and top_test are
    validation and test accuracy of that.
    """
    rows = []
    for group in sides.groups:
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
    numbers = ("planned", "finished")
    schema: Schema = {**dict.fromkeys(texts, TEXT), **dict.fromkeys(numbers, COUNT)}
    counts = pl.col("candidates", "valid", "admitted", "distinct", *FATES)
    sums = fates.group_by("chain").agg(counts.sum())
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


def _measured(cycles: pl.DataFrame) -> Measured:
    """Return what one run measured. cycles: its rows of `fates` with those of `cells`."""
    sums = cycles.sum().row(0, named=True)
    admitted = cycles.drop_nulls("top")
    in_order = admitted.sort(["top", "cycle"], descending=[True, False])
    best = in_order.head(1).to_dicts()
    of_all = cycles.select(pl.max("best")).item()

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
    of_chain = [job for job in results.jobs if job.chain == chain]
    jobs = [job for job in of_chain if job.cycle in common]
    return Budget(
        gpu_seconds=seconds_of(jobs, on_gpu=True),
        cpu_seconds=seconds_of(jobs, on_gpu=False),
        new_tokens=sum(job.new_tokens for job in jobs),
        trained_tokens=sum(job.trained_tokens for job in jobs),
        reused=sum(job.reused for job in jobs),
        before_gpu_seconds=_before_gpu_seconds(results, chain),
    )


def _before_gpu_seconds(results: Results, chain: str) -> float | None:
    """Return what was spent before a chain began; None where the folder does not say on what."""
    if not results.settings:
        return None

    # Chains that share a beginning share its cost, so it is shown apart from their own.
    before = dict(ancestors(results.settings, chain))
    seed_adapter = uses_seed_adapter(results.settings, [chain, *before])

    def counts(job: JobRecord) -> bool:
        trains_seed = job.chain == SEED and job.stage == "finetune"
        if trains_seed and not seed_adapter:
            return False
        return job.cycle <= before.get(job.chain, -1)

    return seconds_of(filter(counts, results.jobs), on_gpu=True)


def _mean_budget(budgets: list[Budget]) -> Budget:
    means = {}
    for field in fields(Budget):
        values = [getattr(budget, field.name) for budget in budgets]
        means[field.name] = _mean(values)
    return Budget(**means)


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where one of the values is not known, or there are none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return statistics.fmean(known)
