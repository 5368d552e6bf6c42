"""First against last: differences, tests and effect sizes, on published cases and on formulas written out."""

import numpy as np
import pytest
from scipy import stats

from archloop.shift import compare_samples, compare_shares, direction, spread

FIRST = [0.21, 0.25, 0.25, 0.31, 0.28, 0.33, 0.19]
LAST = [0.30, 0.41, 0.25, 0.38, 0.45, 0.36]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table II, method 10; the signs are those of last - first.
    [((48, 80), (56, 70), (0.0524, 0.3339)), ((3, 10), (9, 10), (0.1705, 0.8090)), ((0, 20), (10, 10), (0.6791, 1.0))],
)
def test_intervals_of_differences_of_shares_are_the_published_ones(first, last, expected):
    found = compare_shares(first, last)
    assert found["difference"] == pytest.approx(last[0] / last[1] - first[0] / first[1])
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-4)


def test_a_share_of_nothing_is_no_difference():
    assert compare_shares((0, 0), (3, 9)) == {"difference": None, "low": None, "high": None}


def test_cliffs_delta_and_the_median_difference_count_all_pairs():
    found = compare_samples(FIRST, LAST, 500, 1)
    pairs = [(b > a) - (b < a) for a in FIRST for b in LAST]
    assert found["cliffs_delta"] == pytest.approx(sum(pairs) / len(pairs))
    assert found["hodges_lehmann"] == pytest.approx(np.median([b - a for a in FIRST for b in LAST]))
    assert found["difference"] == pytest.approx(np.mean(LAST) - np.mean(FIRST))
    assert found["p_value"] == pytest.approx(stats.mannwhitneyu(FIRST, LAST).pvalue)


def test_the_interval_of_a_difference_of_means_is_welchs():
    found = compare_samples(FIRST, LAST, 50, 1)
    parts = [np.var(sample, ddof=1) / len(sample) for sample in (FIRST, LAST)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 6 + parts[1] ** 2 / 5)
    half = stats.t.ppf(0.975, freedom) * sum(parts) ** 0.5
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half)
    assert (found["high"] + found["low"]) / 2 == pytest.approx(found["difference"])


def test_the_interval_of_delta_agrees_with_scipys_bootstrap():
    def delta(first, last):
        return np.sign(np.subtract.outer(last, first)).mean()

    found = compare_samples(FIRST, LAST, 4000, 1)
    expected = stats.bootstrap(
        (FIRST, LAST), delta, method="percentile", vectorized=False, n_resamples=4000, rng=0
    ).confidence_interval
    assert (found["delta_low"], found["delta_high"]) == pytest.approx(tuple(expected), abs=0.05)


def test_the_means_of_few_values_are_told_apart_as_often_as_the_level_says():
    dice, wrong = np.random.default_rng(1), 0
    for _ in range(400):
        found = compare_samples(dice.normal(size=5).tolist(), dice.normal(size=5).tolist(), 1, 1)
        wrong += direction(found["low"], found["high"]) != "not told apart"
    assert wrong <= 0.075 * 400


def test_what_does_not_vary_has_no_interval():
    found = compare_samples([0.9] * 4, [0.8] * 4, 50, 1)
    assert found["difference"] == pytest.approx(-0.1)
    assert (found["low"], found["high"]) == (None, None)


def test_equal_samples_are_not_told_apart_and_separate_ones_are():
    same = compare_samples(FIRST, FIRST, 500, 1)
    assert same["cliffs_delta"] == 0 and direction(same["low"], same["high"]) == "not told apart"
    apart = compare_samples(FIRST, [value + 1 for value in FIRST], 500, 1)
    assert apart["cliffs_delta"] == apart["delta_low"] == 1 and direction(apart["low"], apart["high"]) == "up"


def test_few_values_are_not_tested():
    found = compare_samples([0.1, 0.2], LAST, 500, 1)
    assert set(found.values()) == {None} and direction(found["low"], found["high"]) == "too few"


def test_three_values_of_each_are_enough():
    found = compare_samples([0.1, 0.2, 0.3], [0.4, 0.5, 0.7], 50, 1)
    assert found["difference"] == pytest.approx(1 / 3) and found["cliffs_delta"] == 1.0
    assert (
        found["p_value"] == compare_samples([0.4, 0.5, 0.7], [0.1, 0.2, 0.3], 50, 1)["p_value"] == pytest.approx(0.1)
    )  # 2 of the 20 orders of six values
    assert None not in found.values()


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.1, 0.2, "up"), (-0.2, -0.1, "down"), (0.0, 0.2, "not told apart"),
                              (-0.2, 0.0, "not told apart"), (-0.1, 0.1, "not told apart"), (None, 0.1, "too few")],
)  # fmt: skip
def test_a_direction_is_told_where_the_interval_lies_on_one_side_of_nothing(low, high, said):
    assert direction(low, high) == said


def test_the_spread_of_repeats_is_their_standard_deviation():
    assert (spread([0.5]), spread([0.4, 0.6])) == (None, pytest.approx(0.02**0.5))


def test_one_seed_gives_one_interval():
    assert compare_samples(FIRST, LAST, 200, 3) == compare_samples(FIRST, LAST, 200, 3)
    assert compare_samples(FIRST, LAST, 200, 3) != compare_samples(FIRST, LAST, 200, 4)
