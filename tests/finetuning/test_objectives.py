"""What is preferred to what, and the losses that teach it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from sections import LOADING, defaults

from archloop.errors import InputError
from archloop.finetuning.objectives import (
    Example,
    Objective,
    answer_logps,
    dpo_losses,
    kto_losses,
    make_objective,
    sft_loss,
)
from archloop.finetuning.train_loop import Batching, Step, TrainingPlan, plan_steps, train, trainable_weights
from archloop.model.adapters import attach_adapter
from archloop.model.loading import load_model
from archloop.settings.sections import Finetuning

SETTINGS = defaults(
    Finetuning,
    beta=0.5,
    sft_weight=0.0,
    order="random",
    epochs=6,
    learning_rate=1e-2,
    weight_decay=0.0,
    warmup_steps=0,
    batch_size=2,
    accumulation=2,
    max_grad_norm=1.0,
    lora_rank=4,
    lora_alpha=8,
    lora_dropout=0.0,
    targets=["v_proj", "down_proj"],
    layers=None,
    gradient_checkpointing=False,
    checkpoint_steps=100,
)
BATCHING = Batching(epochs=6, batch_size=2, accumulation=2)


def training(steps: list[Step], folder: Path, settings: Finetuning = SETTINGS) -> TrainingPlan:
    return TrainingPlan(steps, settings, seed=3, checkpoint=folder / "checkpoint.pt", key="key")


@pytest.fixture
def model(tiny_model):
    torch.manual_seed(1)
    return attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, SETTINGS)


def test_the_losses_are_the_published_formulas():
    now, before = torch.tensor([-1.0, -2.0, -5.0, -3.0]), torch.tensor([-2.0, -2.0, -3.0, -4.0])
    dpo = dpo_losses(now, before, 0.5).tolist()
    # gains of the better answers 1 and 0, of the worse ones -2 and 1
    assert dpo == pytest.approx([math.log(1 + math.exp(-0.5 * 3)), math.log(1 + math.exp(0.5))], rel=1e-6)
    kto = kto_losses(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), 0.25, 0.5).tolist()
    sigmoid = 1 / (1 + math.exp(-0.5 * 0.75))
    assert kto == pytest.approx([1 - sigmoid, sigmoid], rel=1e-6)


def test_the_log_probability_of_an_answer_does_not_depend_on_its_batch(model):
    pairs = [([5, 6, 7], [8, 9]), ([5, 6, 7, 10, 11], [12, 13, 14])]
    alone = torch.cat([answer_logps(model, [pair]) for pair in pairs])
    assert torch.allclose(answer_logps(model, pairs), alone, atol=1e-4)


@pytest.mark.parametrize(("method", "start"), [("dpo", math.log(2)), ("kto", 0.5)])
def test_training_moves_good_answers_up_against_failed_ones(model, tmp_path, method, start):
    chosen, rejected = [([5, 6], [7, 8, 9]), ([5, 9], [17, 8])], [([5, 6], [10, 11]), ([5, 9], [12, 13, 14])]
    if method == "dpo":
        examples = [Example(*good, rejected=bad[1]) for good, bad in zip(chosen, rejected)]
    else:
        examples = [Example(*pair) for pair in chosen] + [Example(*pair, desirable=False) for pair in rejected]
    objective = make_objective(method, SETTINGS, trainable_weights(model))
    assert objective.loss(model, examples, 0.0).item() / len(examples) == pytest.approx(start)
    before = answer_logps(model, chosen + rejected).detach()
    losses = train(model, examples, objective, training(plan_steps(examples, BATCHING, 3), tmp_path)).losses
    gain = answer_logps(model, chosen + rejected).detach() - before
    assert gain[:2].min() > gain[2:].max()
    assert losses[-1] < losses[0]


def test_the_baseline_of_kto_is_zero_at_the_reference_and_counts_answers_to_other_prompts(model):
    weights = trainable_weights(model)
    objective = make_objective("kto", SETTINGS, weights)
    step = [Example([5, 6], [7, 8]), Example([9, 10], [11]), Example([12], [13, 14], desirable=False)]
    assert objective.baseline(model, step, step).item() == pytest.approx(0.0, abs=1e-5)
    pairs = [([5, 6], [13, 14]), ([9, 10], [7, 8]), ([12], [11])]
    before = answer_logps(model, pairs).sum().item()
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.05)
        expected = answer_logps(model, pairs).sum().item() - before
    assert objective.baseline(model, step, step).item() == pytest.approx(expected, rel=1e-3)
    parts = [objective.baseline(model, [example], step).item() for example in step]
    assert sum(parts) == pytest.approx(expected, rel=1e-3)


def test_the_baseline_of_kto_exchanges_the_answers_of_two_and_is_zero_of_one_alone(model):
    weights = trainable_weights(model)
    objective = make_objective("kto", SETTINGS, weights)
    step, exchanged = [Example([5, 6], [7, 8]), Example([9, 10], [11])], [([5, 6], [11]), ([9, 10], [7, 8])]
    before = answer_logps(model, exchanged).sum().item()
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.05)
        expected = answer_logps(model, exchanged).sum().item() - before
    assert objective.baseline(model, step, step).item() == pytest.approx(expected, rel=1e-3)
    assert objective.baseline(model, step[:1], step[:1]).item() == 0.0


@pytest.mark.parametrize(
    ("method", "rejected", "loss", "length"), [("kto", None, 0.5, 11), ("dpo", [3], math.log(2), 19)]
)
def test_the_mean_loss_at_the_reference_is_that_of_no_gain(model, tmp_path, method, rejected, loss, length):
    """kto: no baseline; desirable answers alone, for of one and a failed one a baseline would cancel out."""
    objective, settings = (
        make_objective(method, SETTINGS, trainable_weights(model)),
        replace(SETTINGS, learning_rate=0.0),
    )
    pairs = [([5, 6], [7, 8, 9]), ([9, 10], [11]), ([12], [13, 14])]
    examples = [Example(*pair, rejected=rejected) for pair in pairs]
    steps = plan_steps(examples, BATCHING, 3)
    result = train(model, examples, objective, training(steps, tmp_path, settings))
    assert result.losses == pytest.approx([loss] * 6, abs=1e-4) and result.tokens == 6 * length


@pytest.mark.parametrize(("estimate", "baseline"), [(-3.0, 0.0), (0.0, 0.0), (1.5, 0.5)])
def test_every_loss_of_a_step_is_given_the_mean_of_the_estimates_but_none_below_zero(
    model, tmp_path, estimate, baseline
):
    given = []

    def loss(model, examples, baseline):
        given.append(baseline)
        return -answer_logps(model, [pair for example in examples for pair in example.pairs]).sum()

    examples = [Example([5, 6], [7, 8, 9]), Example([9, 10], [11]), Example([12], [13, 14])]
    objective = Objective(loss, lambda example: 1, lambda *_: torch.tensor(estimate / 2))  # two batches
    train(model, examples, objective, training([(0, [[0, 1], [2]])], tmp_path))
    assert given == pytest.approx([baseline] * 2)


def test_the_cross_entropy_of_the_better_answers_is_added_by_its_weight(model):
    examples = [Example([5, 6], [7, 8, 9], rejected=[10])]
    plain = make_objective("dpo", SETTINGS, trainable_weights(model)).loss(model, examples, 0.0)
    mixed = make_objective("dpo", replace(SETTINGS, sft_weight=2.0), trainable_weights(model)).loss(
        model, examples, 0.0
    )
    per_token = -answer_logps(model, [([5, 6], [7, 8, 9])]).item() / 3
    assert (mixed - plain).item() == pytest.approx(2 * per_token, rel=1e-4)


@pytest.fixture
def one_of_two(monkeypatch):
    """A function that makes this process the first of two, of which the other one has the very same batches."""

    def make() -> None:
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_rank", lambda: 0)
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "all_reduce", lambda sums: sums.mul_(2))

    return make


def test_several_processes_share_the_sum_of_their_gradients(model, tmp_path, monkeypatch, one_of_two):
    """Each has half of a step here, so half of the gradient that one of them alone has of a step of one batch."""
    real, seen = torch.nn.utils.clip_grad_norm_, []

    def clip(weights, largest):
        seen.append([weight.grad.clone() for weight in weights])
        return real(weights, largest)

    def loss(model, examples, baseline):
        return -answer_logps(model, [example.chosen_pair for example in examples]).sum()

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    objective, examples = Objective(loss, lambda example: 1), [Example([5, 6], [7, 8, 9])] * 2
    start = [weight.detach().clone() for weight in trainable_weights(model)]
    train(model, examples, objective, training([(0, [[0]])], tmp_path / "alone"))
    with torch.no_grad():
        for weight, value in zip(trainable_weights(model), start):
            weight.copy_(value)
            weight.grad = None
    one_of_two()
    train(model, examples, objective, training([(0, [[0], [1]])], tmp_path / "one of two"))
    alone, shared = seen
    torch.testing.assert_close(shared, alone)
    assert any(gradient.any() for gradient in alone)


def test_several_processes_share_the_mean_of_the_estimates(model, tmp_path, one_of_two):
    one_of_two()
    given = []

    def loss(model, examples, baseline):
        given.append(baseline)
        return -answer_logps(model, [pair for example in examples for pair in example.pairs]).sum()

    objective = Objective(loss, lambda example: 1, lambda model, batch, step: torch.tensor(1.5 * len(batch)))
    examples = [Example([5, 6], [7, 8, 9]), Example([9, 10], [11, 12])]
    train(model, examples, objective, training([(0, [[0], [1]])], tmp_path))
    assert given == [1.5]


def test_a_gradient_that_is_no_number_ends_a_training_as_a_loss_does_and_the_step_is_counted_from_one(model, tmp_path):
    def loss(model, examples, baseline):
        assert baseline == 0.0
        logps = answer_logps(model, [example.chosen_pair for example in examples])
        return (logps - logps.detach()).sqrt().sum()  # 0, and no number its gradient

    with pytest.raises(InputError, match=r"step 1 of 2: the loss or its gradient is no finite number"):
        steps = [(0, [[0]]), (0, [[0]])]
        train(model, [Example([5, 6], [7])], Objective(loss, lambda example: 1), training(steps, tmp_path))


def test_the_loss_counts_the_answers_tokens_and_nothing_else(tiny_model):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, replace(SETTINGS, lora_dropout=0.0))
    pairs = [([5, 6, 7], [8, 9]), ([5, 6, 7, 10, 11], [12, 13, 14])]
    expected = 0.0
    for prompt, answer in pairs:
        labels = torch.tensor([[-100] * len(prompt) + answer])
        mean = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss.item()
        expected += mean * len(answer)
    examples = [Example(prompt, answer) for prompt, answer in pairs]
    assert sft_loss(model, examples, 0.0).item() == pytest.approx(expected, rel=1e-5)


def test_a_weight_multiplies_the_loss_of_its_answer(tiny_model):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, replace(SETTINGS, lora_dropout=0.0))
    losses = [sft_loss(model, [Example([5, 6], answer)], 0.0).item() for answer in ([8, 9], [12, 13, 14])]
    both = [Example([5, 6], [8, 9], weight=0.5), Example([5, 6], [12, 13, 14], weight=1.5)]
    assert sft_loss(model, both, 0.0).item() == pytest.approx(0.5 * losses[0] + 1.5 * losses[1], rel=1e-5)
