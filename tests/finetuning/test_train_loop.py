"""The training loop: similar lengths together, steps in their order, resumed as if never cut."""

import itertools

import pytest
import torch
from safetensors.torch import load_file
from small_finetuning import BY_ACCURACY, CORPUS, FAILED, adapter, run

from archloop.errors import InputError
from archloop.finetuning.objectives import Example
from archloop.finetuning.train_loop import (
    Batching,
    ascending_batches,
    length_grouped_batches,
    plan_steps,
    rate_at,
    share_of_process,
)


def test_batches_hold_every_index_once_and_similar_lengths():
    lengths = [(i * 37) % 400 + 50 for i in range(210)]
    batches = length_grouped_batches(lengths, 4, "seed")
    assert sorted(i for batch in batches for i in batch) == list(range(210))
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert 1 - sum(lengths) / padded < 0.08
    assert length_grouped_batches(lengths, 4, "seed") == batches != length_grouped_batches(lengths, 4, "other")


def test_in_the_order_of_accuracy_every_step_is_better_than_the_one_before():
    examples = [Example([1] * (i % 7 + 1), [2], score=(i * 37) % 100) for i in range(100)]
    batching = Batching(epochs=2, batch_size=4, accumulation=2, order="accuracy")
    for wanted in (0, 1):
        steps = [
            [examples[i].score for batch in each for i in batch]
            for epoch, each in plan_steps(examples, batching, 1)
            if epoch == wanted
        ]
        assert sorted(itertools.chain(*steps)) == list(range(100))
        assert all(max(step) < min(after) for step, after in itertools.pairwise(steps))
        assert [len(step) for step in steps] == [8] * 12 + [4]


@pytest.mark.parametrize(
    ("method", "cut_after", "changes"),
    [("sft", 1, {}), ("sft", 4, {}), ("sft", 4, BY_ACCURACY), ("dpo", 2, {}), ("kto", 3, {})],
)
def test_a_run_that_was_cut_resumes_to_the_same_bytes(tiny_model, tmp_path, monkeypatch, method, cut_after, changes):
    settings = {"candidates": FAILED, "method": method} | changes
    run(tiny_model, tmp_path / "whole", **settings)
    real, calls = torch.optim.AdamW.step, []

    def cut(self, *arguments, **options):
        calls.append(1)
        if len(calls) > cut_after:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(torch.optim.AdamW, "step", cut)
        run(tiny_model, tmp_path / "cut", **settings)
    assert (tmp_path / "cut" / "state" / "checkpoint.pt").is_file()
    steps = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **o: steps.append(1) or real(self, *a, **o))
    run(tiny_model, tmp_path / "cut", **settings)
    assert len(steps) == {"sft": 6, "dpo": 4, "kto": 10}[method] - cut_after
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "whole")
    # Until the caller says that all is safe, the work of every step is: another run has none left to do.
    done = len(steps)
    run(tiny_model, tmp_path / "cut", **settings)
    assert len(steps) == done and adapter(tmp_path / "cut") == adapter(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["other inputs", "torn"])
def test_a_checkpoint_of_other_inputs_or_a_torn_one_is_not_used(tiny_model, tmp_path, zero, damage):
    state = tmp_path / "cut" / "state"
    state.mkdir(parents=True)
    if damage == "torn":
        (state / "checkpoint.pt").write_bytes(b"PK\x03\x04half")
    else:
        torch.save({"key": "another"}, state / "checkpoint.pt")
    run(tiny_model, tmp_path / "cut")
    assert adapter(tmp_path / "cut") == adapter(zero)


def test_the_first_step_learns_and_the_rate_rises_to_its_peak_and_falls_to_nothing(tiny_model, tmp_path):
    rates = [rate_at(step, 3, 10) for step in range(11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True) and rates[-1] == 0.0 < rates[-2]
    assert rate_at(0, 1, 1) == 0.5 and rate_at(0, 0, 1) == 1.0 and rate_at(1, 0, 1) == 0.0
    run(tiny_model, tmp_path, admitted=CORPUS[:1], epochs=1)
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(weight.any() for name, weight in weights.items() if "lora_B" in name)


def test_a_training_that_diverges_stops_in_one_line_and_keeps_no_checkpoint_of_it(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"step \d of 6: the loss or its gradient is no finite number"):
        run(tiny_model, tmp_path, learning_rate=1e30, max_grad_norm=1e30, checkpoint_steps=2)
    assert not (tmp_path / "adapter").exists()


def test_accumulated_batches_are_one_large_batch(tiny_model, tmp_path):
    settings = {"admitted": CORPUS[:4], "epochs": 1, "lora_dropout": 0.0}
    run(tiny_model, tmp_path / "one", batch_size=4, accumulation=1, **settings)
    run(tiny_model, tmp_path / "four", batch_size=1, accumulation=4, **settings)
    one, four = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "four"))
    assert all(torch.allclose(one[name], four[name], atol=1e-5) for name in one)


def test_a_step_is_so_many_batches_and_every_pass_holds_all():
    examples = [Example([1] * (i % 5 + 1), [2]) for i in range(11)]
    steps = plan_steps(examples, Batching(epochs=3, batch_size=2, accumulation=2), 7)
    assert [epoch for epoch, _ in steps] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [len(batches) for _, batches in steps] == [2, 2, 2] * 3
    passes = [[batch for at, step in steps if at == epoch for batch in step] for epoch in range(3)]
    assert all(sorted(itertools.chain(*batches)) == list(range(11)) for batches in passes)
    assert all(len(batch) <= 2 for batches in passes for batch in batches) and passes[0] != passes[1] != passes[2]
    assert steps[0] == (0, [[8, 4], [0, 5]])


def test_batches_are_those_that_a_cut_training_went_through():
    lengths = [5, 1, 4, 2, 3, 9]
    assert length_grouped_batches(lengths, 2, 1, 0) == [[1, 3], [0, 5], [4, 2]]
    examples = [Example([1] * length, [2], score=-length) for length in lengths]
    assert ascending_batches(examples, 2, 2, 1, 0) == [[4, 2], [0, 5], [1, 3]]


def test_each_of_several_processes_takes_its_share_the_longest_first():
    batches, lengths = [[0], [1, 2], [3], [4]], [5, 1, 1, 9, 3]  # 5, 2, 9 and 3 tokens
    assert share_of_process(batches, lengths, 0, 1) == [(0, [0]), (1, [1, 2]), (2, [3]), (3, [4])]
    shares = [share_of_process(batches, lengths, rank, 2) for rank in (0, 1)]
    assert shares == [[(2, [3]), (3, [4])], [(0, [0]), (1, [1, 2])]]


def test_a_step_is_one_batch_unless_told_otherwise():
    steps = plan_steps([Example([1], [2])] * 6, Batching(epochs=1, batch_size=2), 3)
    assert [len(batches) for _, batches in steps] == [1, 1, 1]
