"""Durations, shares and sizes as people read them, and that what prints them is code of what is printed."""

import pytest

from archloop.quantities import duration, gigabytes, percent
from archloop.workflow.code_digest import reached


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (42, "42 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_a_duration_has_the_two_largest_of_its_units(seconds, text):
    assert duration(seconds) == text


def test_a_share_is_told_in_per_cent_and_nothing_known_as_such():
    assert (percent(0.9375), percent(0.9375, 0), percent(1)) == ("93.8 %", "94 %", "100.0 %")
    assert (percent(None), percent(None, unknown="?")) == ("–", "?")


def test_a_size_is_told_in_gigabytes_of_a_thousand_millions():
    assert (gigabytes(7_450_000_000), gigabytes(2**30, 2), gigabytes(16e9, 0)) == ("7.5 GB", "1.07 GB", "16 GB")


def test_how_numbers_are_printed_is_code_of_the_report(root):
    scripts = root / "scripts"
    assert scripts / "archloop" / "quantities.py" in reached(scripts / "report.py")
