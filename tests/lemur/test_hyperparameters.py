"""The hyperparameters of programs: what all get, what each declares, and what a declared name is worth."""

from dataclasses import replace

import pytest

from archloop.lemur.hyperparameters import declared_names, hyperparameters
from archloop.settings.sections import Evaluation

ALWAYS = {"lr": 0.1, "batch": 32, "epoch": 3, "epoch_max": 3, "momentum": 0.8, "dropout": 0.2}
ALWAYS |= {"transform": "norm_256_flip"}


@pytest.fixture
def protocol(settings) -> Evaluation:
    training = {"learning_rate": 0.1, "batch_size": 32, "epochs": 3, "momentum": 0.8, "dropout": 0.2}
    return replace(settings, **training, protocol="resize256_flip")


def test_every_program_gets_what_lemur_gives_to_all(protocol):
    assert hyperparameters("", protocol) == ALWAYS
    assert hyperparameters("", replace(protocol, protocol="native")) == ALWAYS | {"transform": "norm_32"}
    assert hyperparameters("class (", protocol) == ALWAYS


def test_names_that_a_program_declares_have_the_value_of_their_kind(protocol):
    names = "lr learning_rate batch_size epochs num_epochs weight_decay label_smoothing pretrained drop_path gamma"
    program = f"def supported_hyperparameters():\n    return {set(names.split())!r}\n"
    assert hyperparameters(program, protocol) == ALWAYS | {
        "learning_rate": 0.1,
        "batch_size": 32,
        "epochs": 3,
        "num_epochs": 3,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "pretrained": 0.0,
        "drop_path": 0.2,
        "gamma": 0.5,
    }


def test_names_are_read_from_the_function_alone():
    other = "def other():\n    return {'beta'}\n\n"
    declared = "def supported_hyperparameters():\n    return {'lr', 'not a name', 5, 'gamma'}\n"
    assert declared_names(other + declared) == {"lr", "gamma"}
    assert declared_names(other) == declared_names("class (") == set()
