"""Two samples compared: how far the second lies from the first, how sure that is, and how large the effect."""

import statistics

import numpy as np
from scipy import stats

from archloop.intervals import wilson
from archloop.seeds import derive

LEAST = 3  # values of each sample below which nothing is tested


def compare_samples(first: list[float], last: list[float], resamples: int, seed: int) -> dict:
    """Return the difference of the means (last - first) with its interval, a test and effect sizes.

    difference with low and high: 95 %, Welch's t, which keeps to its level with few values where a percentile bootstrap
    does not; None where neither sample varies. p_value: two-sided Mann-Whitney. cliffs_delta (N. Cliff, 1993) with
    delta_low and delta_high, percentile bootstrap: the chance that a value of the second sample is above one of the
    first less the chance that it is below, -1 to 1. hodges_lehmann: median of all pairwise differences. All None with
    fewer than three values on either side.
    """
    names = ("difference", "low", "high", "p_value", "cliffs_delta", "delta_low", "delta_high", "hodges_lehmann")
    if min(len(first), len(last)) < LEAST:
        return dict.fromkeys(names)
    one, two = np.sort(np.asarray(first, float)), np.sort(np.asarray(last, float))
    dice = np.random.default_rng(derive(seed, "bootstrap"))
    deltas = [_delta(np.sort(dice.choice(one, len(one))), dice.choice(two, len(two))) for _ in range(resamples)]
    delta_low, delta_high = np.quantile(deltas, (0.025, 0.975))
    low, high = _welch(one, two)
    test = stats.mannwhitneyu(two, one, alternative="two-sided")
    pairs = np.median(np.subtract.outer(two, one))
    values = (two.mean() - one.mean(), low, high, test.pvalue, _delta(one, two), delta_low, delta_high, pairs)
    return {name: None if value is None else float(value) for name, value in zip(names, values)}


def compare_shares(first: tuple[int, int], last: tuple[int, int]) -> dict:
    """Return the difference of two proportions (count, of), last - first, with its 95 % interval.

    The interval is Newcombe's (Statistics in Medicine 1998, method 10): built from both Wilson intervals. All None when
    one has no denominator.
    """
    if not first[1] or not last[1]:
        return dict.fromkeys(("difference", "low", "high"))
    one, two = first[0] / first[1], last[0] / last[1]
    (low_one, high_one), (low_two, high_two) = wilson(*first), wilson(*last)
    difference = two - one
    return {
        "difference": difference,
        "low": difference - ((two - low_two) ** 2 + (high_one - one) ** 2) ** 0.5,
        "high": difference + ((high_two - two) ** 2 + (one - low_one) ** 2) ** 0.5,
    }


def direction(low: float | None, high: float | None) -> str:
    """Return what a 95 % interval of a difference tells: `up`, `down`, or `not told apart`; `too few` without one."""
    if low is None or high is None:
        return "too few"
    return "up" if low > 0 else "down" if high < 0 else "not told apart"


def spread(values: list[float]) -> float | None:
    """Return the standard deviation over repeats; None for fewer than two."""
    return statistics.stdev(values) if len(values) > 1 else None


def _welch(first: np.ndarray, last: np.ndarray) -> tuple[float | None, float | None]:
    if np.ptp(first) == np.ptp(last) == 0:
        return None, None
    return tuple(stats.ttest_ind(last, first, equal_var=False).confidence_interval(0.95))


def _delta(sorted_first: np.ndarray, last: np.ndarray) -> float:
    below = np.searchsorted(sorted_first, last, "left").sum()
    not_above = np.searchsorted(sorted_first, last, "right").sum()
    pairs = len(sorted_first) * len(last)
    return (below - (pairs - not_above)) / pairs
