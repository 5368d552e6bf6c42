"""Intervals, on the published cases and on an independent formula."""

import pytest
from scipy.stats import binomtest

from archloop.report.intervals import mean_interval, wilson


@pytest.mark.parametrize(("count", "of", "low", "high"), [(1, 49, 0.4, 10.7), (94, 94, 96.1, 100.0)])
def test_wilson_on_the_cases_that_are_often_got_wrong(count, of, low, high):
    assert [round(100 * bound, 1) for bound in wilson(count, of)] == [low, high]


@pytest.mark.parametrize(("count", "of"), [(0, 7), (3, 7), (7, 7), (40, 160), (1, 1)])
def test_wilson_agrees_with_scipy(count, of):
    expected = binomtest(count, of).proportion_ci(method="wilson")
    assert wilson(count, of) == pytest.approx((expected.low, expected.high))


def test_no_trials_tell_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_mean_of_one_value_has_no_interval():
    assert mean_interval([0.5]) is None


def test_the_t_interval_of_a_known_sample():
    # t(0.975, 4) = 2.776, standard error of 1..5 = 0.7071
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3 - 1.9632, 3 + 1.9632), abs=1e-3)


def test_the_t_interval_of_two_values_is_wide():
    # t(0.975, 1) = 12.706, standard error of 1 and 2 = 0.5
    assert mean_interval([1, 2]) == pytest.approx((1.5 - 6.353, 1.5 + 6.353), abs=1e-3)


@pytest.mark.parametrize(("count", "of"), [(-1, 3), (4, 3)])
def test_more_successes_than_trials_are_no_share(count, of):
    with pytest.raises(ValueError, match=f"{count} successes of {of} trials"):
        wilson(count, of)
