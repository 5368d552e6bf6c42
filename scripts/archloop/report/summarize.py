"""One cycle in numbers: funnel, rates with their denominators, the accuracy of what trained."""

import statistics
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import polars as pl

from archloop.files import read_json
from archloop.outcomes import NOT_VALID, VALID, count_outcomes
from archloop.report.intervals import mean_interval, wilson


class TrainingRecord(TypedDict):
    """What is read of training.json of an adapter.

    carried_on: it was kept unchanged. losses: one an epoch.
    """

    carried_on: bool
    pairs: int | None
    losses: NotRequired[list[float]]


class Rate(TypedDict):
    """A count of how many, its share (None where nothing was counted), its 95 % Wilson interval."""

    count: int
    of: int
    share: float | None
    low: float
    high: float


class ThresholdRate(Rate):
    """How many scored the threshold or more."""

    threshold: float


class Distribution(TypedDict):
    """Of n values: mean with its 95 % t interval, median, best, deviation; None where undefined."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    median: float | None
    best: float | None
    sd: float | None


# summary.json of a cycle. `yield` is a word of Python's, so the class cannot be written as one.
Summary = TypedDict(
    "Summary",
    {
        "chain": str,
        "cycle": int,
        "dataset": str,
        "candidates": int,
        "funnel": dict[str, int],
        "valid": Rate,
        "at_threshold": ThresholdRate,
        "near_copies": Rate,
        "yield": Rate,
        "accuracy": Distribution,
        "balanced_accuracy": Distribution,
        "new_tokens": int,
        "adapter_carried_on": bool | None,
        "training_pairs": int | None,
    },
)


def summarize(
    candidates: pl.DataFrame,
    training: TrainingRecord | None,
    threshold: float,
    chain: str,
    cycle: int,
    dataset: str,
) -> Summary:
    """Return the summary of one cycle.

    candidates: candidates.parquet. training: the lineage of the cycle's adapter, None where it
    makes none. threshold: score (0 to 1) that the share at or above is counted with.
    """
    counts = count_outcomes(candidates["outcome"].to_list())
    total = candidates.height
    valid = candidates.filter(pl.col("outcome").is_in(VALID))

    failed = sum(counts[name] for name in NOT_VALID)
    if total != sum(counts.values()) or valid.height != total - failed:
        raise AssertionError("the funnel does not add up")

    above = valid.filter(pl.col("score") >= threshold).height
    at_threshold = rate(above, valid.height)

    # An adapter that was kept unchanged was trained on nothing in this cycle.
    unchanged = training["carried_on"] if training else None
    pairs = training["pairs"] if training and not unchanged else 0

    return {
        "chain": chain,
        "cycle": cycle,
        "dataset": dataset,
        "candidates": total,
        "funnel": counts,
        "valid": rate(valid.height, total),
        "at_threshold": {**at_threshold, "threshold": threshold},
        "near_copies": rate(counts["near_copy"], valid.height),
        "yield": rate(counts["admitted"], total),
        "accuracy": describe(sorted(valid["accuracy"].to_list())),
        "balanced_accuracy": describe(sorted(valid["balanced_accuracy"].drop_nulls().to_list())),
        "new_tokens": int(candidates["new_tokens"].sum()),
        "adapter_carried_on": unchanged,
        "training_pairs": pairs,
    }


def read_training(path: Path) -> TrainingRecord:
    """Return what training.json of an adapter says; raise InputError where it is not whole."""
    return cast(TrainingRecord, read_json(path, "carried_on", "pairs"))


def rate(count: int, of: int) -> Rate:
    """Return a rate with numerator, denominator and interval."""
    low, high = wilson(count, of)
    share = count / of if of else None
    return {"count": count, "of": of, "share": share, "low": low, "high": high}


def describe(values: list[float]) -> Distribution:
    """Return how values are distributed."""
    n = len(values)
    low, high = mean_interval(values) or (None, None)

    return {
        "n": n,
        "mean": statistics.fmean(values) if n else None,
        "low": low,
        "high": high,
        "median": statistics.median(values) if n else None,
        "best": max(values, default=None),
        "sd": statistics.stdev(values) if n > 1 else None,
    }
