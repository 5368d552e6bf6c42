"""The funnel: its outcomes, in their order."""

import pytest

from archloop.outcomes import NOT_VALID, OUTCOMES, VALID, count_outcomes


def test_the_outcomes_are_these_in_this_order():
    not_valid = "unparseable unsafe contract construct forward over_budget timeout out_of_memory crashed diverged"
    assert " ".join(NOT_VALID) == not_valid
    assert " ".join(VALID) == "below_threshold near_copy admitted"
    assert " ".join(OUTCOMES) == f"{not_valid} below_threshold near_copy admitted"


def test_each_is_counted_and_those_that_nobody_ended_at_are_zero():
    found = count_outcomes(["admitted", "forward", "admitted"])
    assert list(found) == list(OUTCOMES) and sum(found.values()) == 3
    assert (found["admitted"], found["forward"], found["crashed"]) == (2, 1, 0)


def test_an_outcome_that_is_none_is_no_number():
    with pytest.raises(KeyError):
        count_outcomes(["trained"])
