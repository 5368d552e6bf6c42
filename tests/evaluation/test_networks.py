"""What a network is made of, counted and kept whatever the program does: seeds, shared weights, memory not written."""

import random

import numpy as np
import pytest
import torch

from archloop.evaluation.networks import (
    Stop,
    built_to_train,
    checked,
    multiply_adds,
    parameters_of,
    seed_everything,
    without_numbers,
)


def test_every_generator_begins_at_the_seed():
    seed = 2**32 + 5  # NumPy takes 32 bits
    seed_everything(seed)
    assert random.random() == random.Random(seed).random()
    assert np.random.random() == np.random.RandomState(5).random_sample()
    assert torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()


def test_weights_that_two_layers_share_are_shared_without_numbers_too():
    one, two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    two.weight = one.weight
    model = without_numbers(torch.nn.Sequential(one, two))
    assert model[0].weight is model[1].weight and model[0].bias is not model[1].bias
    assert [tuple(weight.shape) for weight in parameters_of(model)].count((4, 4)) == 1
    assert all(weight.is_meta for weight in parameters_of(model))


def test_layers_that_hold_each_other_are_counted_once():
    model = torch.nn.Linear(4, 2)
    model.again = torch.nn.Sequential(model)
    assert sorted(weight.numel() for weight in parameters_of(model)) == [2, 8]


def test_a_network_is_checked_in_training_mode():
    assert checked(lambda device: torch.nn.Linear(4, 2).eval(), (3, 4), 2).training


def test_multiply_adds_are_counted_in_silence(capsys):
    assert multiply_adds(torch.nn.Linear(4, 2), (3, 4)) == 8
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("no such layer"), "construct"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA error: unspecified launch failure"), None),  # the machine's fault, no verdict
    ],
)
def test_an_error_of_the_device_is_not_the_programs(error, outcome):
    def build(device):
        raise error

    with pytest.raises(Stop if outcome else RuntimeError) as caught:
        built_to_train(build, 1, "cpu", (2, 1, 4, 4))
    assert getattr(caught.value, "outcome", None) == outcome


@pytest.mark.parametrize("before", [False, True])
def test_memory_that_a_program_does_not_write_reads_as_no_number(before):
    class Raw(torch.nn.Module):
        def __init__(self):
            super().__init__()
            asked.append(torch.are_deterministic_algorithms_enabled())
            asked.append(torch.is_deterministic_algorithms_warn_only_enabled())
            torch.ones(1000)  # memory that was written before and is free again
            self.weight = torch.nn.Parameter(torch.empty(1000))

    asked = []
    torch.use_deterministic_algorithms(before)
    try:
        assert built_to_train(lambda device: Raw(), 1, "cpu", (2, 1, 4, 4)).weight.isnan().all()
        assert asked == [True, True] and torch.are_deterministic_algorithms_enabled() is before
    finally:
        torch.use_deterministic_algorithms(False)
