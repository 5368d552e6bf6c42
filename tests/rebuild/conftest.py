"""Tests plan on the finished run or on copies of it."""

import json
from pathlib import Path

import pytest
from plans import plans
from rerun_tables import check_table
from small_run import copy, small_settings


@pytest.fixture
def small() -> dict:
    """The settings of the finished run, as a user writes them."""
    return small_settings()


@pytest.fixture
def changed(finished, tmp_path) -> Path:
    """A copy of the clone that a test may change."""
    return copy(finished, tmp_path / "copy")


@pytest.fixture(scope="session")
def plan_settings(finished, tmp_path_factory):
    """A function: the plans for some settings, each as a whole dict."""

    def plan(wanted: list[dict]) -> list:
        folder = tmp_path_factory.mktemp("settings")
        asked = []
        for number, settings in enumerate(wanted):
            path = folder / f"{number}.yaml"
            path.write_text(json.dumps(settings))
            asked.append((finished, ["--configfile", str(path)]))
        return plans(asked)

    return plan


@pytest.fixture
def rerun_table(request):
    """A function that compares a table of docs/reruns.md with the rows that were found; --write-docs rewrites it."""
    return lambda name, rows: check_table(name, rows, request.config.getoption("--write-docs"))
