"""One cycle in numbers: the funnel, the rates with their denominators, the accuracy of what trained."""

import statistics

import polars as pl

from archloop.outcomes import NOT_VALID, VALID, count_outcomes
from archloop.report.intervals import mean_interval, wilson


def summarize(
    candidates: pl.DataFrame,
    training: dict | None,
    threshold: float,
    chain: str,
    cycle: int,
    dataset: str,
) -> dict:
    """Return the summary of one cycle.

    candidates: candidates.parquet. training: the lineage of the cycle's adapter, None where it makes none. threshold:
    score (0 to 1) that the share at or above is counted with. A rate is {count, of, share, low, high} with its Wilson
    interval.
    """
    counts = count_outcomes(candidates["outcome"].to_list())
    total = candidates.height
    valid = candidates.filter(pl.col("outcome").is_in(VALID))
    accuracies = sorted(valid["accuracy"].to_list())
    if total != sum(counts.values()) or valid.height != total - sum(
        counts[name] for name in NOT_VALID
    ):
        raise AssertionError("the funnel does not add up")
    above = valid.filter(pl.col("score") >= threshold).height
    return {
        "chain": chain,
        "cycle": cycle,
        "dataset": dataset,
        "candidates": total,
        "funnel": counts,
        "valid": rate(valid.height, total),
        "at_threshold": rate(above, len(accuracies)) | {"threshold": threshold},
        "near_copies": rate(counts["near_copy"], valid.height),
        "yield": rate(counts["admitted"], total),
        "accuracy": describe(accuracies),
        "balanced_accuracy": describe(sorted(valid["balanced_accuracy"].drop_nulls().to_list())),
        "new_tokens": int(candidates["new_tokens"].sum()),
        "adapter_carried_on": training["carried_on"] if training else None,
        "training_pairs": training["pairs"] if training and not training["carried_on"] else 0,
    }


def rate(count: int, of: int) -> dict:
    """Return a rate with numerator, denominator and 95 % Wilson interval; share is None when nothing was counted."""
    low, high = wilson(count, of)
    return {"count": count, "of": of, "share": count / of if of else None, "low": low, "high": high}


def describe(values: list[float]) -> dict:
    """Return n, mean with its 95 % t interval, median, best and standard deviation; None where undefined."""
    if not values:
        return dict.fromkeys(("mean", "low", "high", "median", "best", "sd")) | {"n": 0}
    low, high = mean_interval(values) or (None, None)
    return {
        "n": len(values),
        "mean": statistics.fmean(values),
        "low": low,
        "high": high,
        "median": statistics.median(values),
        "best": max(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
    }
