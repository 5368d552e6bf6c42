"""What is preferred to what, and the losses that teach it."""

import math

import pytest
import torch

from archloop.finetuning.objectives import Example, Objective, answer_logps, dpo_losses, kto_losses, make_objective
from archloop.finetuning.preferences import compared
from archloop.finetuning.train_loop import plan, train, trainable
from archloop.model.adapters import attach_adapter
from archloop.model.loading import load_model

LOADING = {"dtype": "float32", "quantization": "none"}
SETTINGS = {
    "beta": 0.5,
    "sft_weight": 0.0,
    "order": "random",
    "epochs": 6,
    "learning_rate": 1e-2,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "batch_size": 2,
    "accumulation": 2,
    "max_grad_norm": 1.0,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "targets": ["v_proj", "down_proj"],
    "layers": None,
    "gradient_checkpointing": False,
    "checkpoint_steps": 100,
}
GOOD = [{"prompt": p, "program": f"a = {i}", "score": 0.0} for i, p in enumerate(["one", "two", "one", "three"])]
FAILED = [
    {"prompt": "one", "program": "b = 1", "outcome": "forward"},
    {"prompt": "one", "program": "b = 2", "outcome": "construct"},
    {"prompt": "one", "program": "b = 2", "outcome": "construct"},
    {"prompt": "four", "program": "b = 3", "outcome": "forward"},
    {"prompt": "two", "program": "b = 4", "outcome": "near_copy"},
    {"prompt": "two", "program": None, "outcome": "forward"},
]
OUTCOMES = ["forward", "construct"]


@pytest.fixture
def model(tiny_model):
    torch.manual_seed(1)
    return attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, SETTINGS)


def test_dpo_pairs_failed_programs_with_others_to_the_same_prompt():
    pairs, left_out = compared("dpo", GOOD, FAILED, OUTCOMES, 1)
    assert sorted((row["prompt"], row["worse"]) for row in pairs) == [("one", "b = 1"), ("one", "b = 2")]
    assert {row["program"] for row in pairs} == {"a = 0", "a = 2"}
    assert left_out == 1


def test_kto_takes_no_more_failed_programs_than_good_ones():
    rows, left_out = compared("kto", GOOD[:2], FAILED, OUTCOMES, 1)
    assert [row["good"] for row in rows] == [True, True, False, False]
    assert left_out == 1 and {row["program"] for row in rows[2:]} < {"b = 1", "b = 2", "b = 3"}
    assert compared("kto", GOOD[:2], FAILED, OUTCOMES, 1) == (rows, left_out)


def test_kto_takes_failed_programs_by_the_seed_and_dpo_pairs_each_with_the_good_ones_in_turn():
    rows = [{"prompt": "p", "program": f"good {at}", "score": 0.5} for at in range(3)]
    failed = [{"prompt": "p", "program": f"bad {at}", "outcome": "forward"} for at in range(9)]
    chosen = [compared("kto", rows, failed, ["forward"], seed)[0] for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0][0] == {"prompt": "p", "program": "good 0", "score": 0.5, "worse": None, "good": True}
    assert {**chosen[0][3], "program": ""} == {"prompt": "p", "program": "", "score": 0.0, "worse": None, "good": False}
    pairs, left_out = compared("dpo", rows, failed[:7], ["forward"], 1)
    assert left_out == 0 and sorted(row["worse"] for row in pairs) == [f"bad {at}" for at in range(7)]
    # As adapters on record were taught: the number of the good program, then of the failed one.
    assert [row["program"][-1] + row["worse"][-1] for row in pairs] == ["02", "13", "25", "06", "11", "24", "00"]
    counts = sorted([row["program"] for row in pairs].count(f"good {at}") for at in range(3))
    assert counts == [2, 2, 3]  # each answers in turn


def test_sft_takes_the_good_rows_alone():
    rows, left_out = compared("sft", GOOD, FAILED, OUTCOMES, 1)
    assert [row["program"] for row in rows] == [row["program"] for row in GOOD] and left_out == 0


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
    better, worse = [([5, 6], [7, 8, 9]), ([5, 9], [17, 8])], [([5, 6], [10, 11]), ([5, 9], [12, 13, 14])]
    if method == "dpo":
        examples = [Example(*good, worse=bad[1]) for good, bad in zip(better, worse)]
    else:
        examples = [Example(*pair) for pair in better] + [Example(*pair, good=False) for pair in worse]
    objective = make_objective(method, SETTINGS, trainable(model))
    assert objective.loss(model, examples, 0.0).item() / len(examples) == pytest.approx(start)
    before = answer_logps(model, better + worse).detach()
    losses, _ = train(
        model, examples, objective, plan(examples, SETTINGS, 3), SETTINGS, 3, tmp_path / "checkpoint.pt", "key"
    )
    gain = answer_logps(model, better + worse).detach() - before
    assert gain[:2].min() > gain[2:].max()
    assert losses[-1] < losses[0]


def test_the_baseline_of_kto_is_zero_at_the_reference_and_counts_answers_to_other_prompts(model):
    weights = trainable(model)
    objective = make_objective("kto", SETTINGS, weights)
    step = [Example([5, 6], [7, 8]), Example([9, 10], [11]), Example([12], [13, 14], good=False)]
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
    weights = trainable(model)
    objective = make_objective("kto", SETTINGS, weights)
    step, exchanged = [Example([5, 6], [7, 8]), Example([9, 10], [11])], [([5, 6], [11]), ([9, 10], [7, 8])]
    before = answer_logps(model, exchanged).sum().item()
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.05)
        expected = answer_logps(model, exchanged).sum().item() - before
    assert objective.baseline(model, step, step).item() == pytest.approx(expected, rel=1e-3)
    assert objective.baseline(model, step[:1], step[:1]).item() == 0.0


@pytest.mark.parametrize(("method", "worse", "loss", "length"), [("kto", None, 0.5, 11), ("dpo", [3], math.log(2), 19)])
def test_the_mean_loss_at_the_reference_is_that_of_no_gain(model, tmp_path, method, worse, loss, length):
    """kto: no baseline; good answers alone, for of a good and a failed one a baseline would cancel out."""
    objective, settings = make_objective(method, SETTINGS, trainable(model)), SETTINGS | {"learning_rate": 0.0}
    pairs = [([5, 6], [7, 8, 9]), ([9, 10], [11]), ([12], [13, 14])]
    examples = [Example(*pair, worse=worse) for pair in pairs]
    steps = plan(examples, settings, 3)
    losses, tokens = train(model, examples, objective, steps, settings, 3, tmp_path / "checkpoint.pt", "key")
    assert losses == pytest.approx([loss] * 6, abs=1e-4) and tokens == 6 * length


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
    train(model, examples, objective, [(0, [[0, 1], [2]])], SETTINGS, 3, tmp_path / "checkpoint.pt", "key")
    assert given == pytest.approx([baseline] * 2)


def test_the_cross_entropy_of_the_better_answers_is_added_by_its_weight(model):
    examples = [Example([5, 6], [7, 8, 9], worse=[10])]
    plain = make_objective("dpo", SETTINGS, trainable(model)).loss(model, examples, 0.0)
    mixed = make_objective("dpo", SETTINGS | {"sft_weight": 2.0}, trainable(model)).loss(model, examples, 0.0)
    per_token = -answer_logps(model, [([5, 6], [7, 8, 9])]).item() / 3
    assert (mixed - plain).item() == pytest.approx(2 * per_token, rel=1e-4)
