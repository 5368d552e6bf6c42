"""A fine-tuning that the tests of this folder compare theirs with."""

import pytest
from small_finetuning import run


@pytest.fixture(scope="session")
def zero(tiny_model, tmp_path_factory):
    """The folder of a fine-tuning with SETTINGS on CORPUS, made once; no test changes it."""
    folder = tmp_path_factory.mktemp("zero")
    run(tiny_model, folder)
    return folder


@pytest.fixture
def parent(zero):
    return zero / "adapter" / "adapter_model.safetensors"
