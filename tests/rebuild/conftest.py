"""One finished small run, made once; tests plan on it or on copies of it."""

import json
from pathlib import Path

import pytest
import yaml
from plans import plans
from readme import check
from small_run import SMALL, copy, finish, make_clone


@pytest.fixture
def small() -> dict:
    """The settings of the small run, as a user writes them."""
    return yaml.safe_load(SMALL.read_text())


@pytest.fixture(scope="session")
def finished(tiny_model, tmp_path_factory) -> Path:
    """A clone with a finished run in it. Tests leave it as it is."""
    folder = make_clone(tmp_path_factory.mktemp("rebuild") / "clone", tiny_model)
    done = finish(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


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
def readme_table(request):
    """A function that compares a table of the README with the rows that were found; --write-readme rewrites it."""
    return lambda name, rows: check(name, rows, request.config.getoption("--write-readme"))
