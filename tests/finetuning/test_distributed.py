"""Several processes train as one does, and what fails in one of them is said once."""

import json

import pytest
import torch
from safetensors.torch import load_file
from small_finetuning import BY_ACCURACY, FAILED, job, run

import archloop.finetuning.finetune as module
from archloop.errors import InputError
from archloop.finetuning.distributed import run_distributed
from archloop.finetuning.finetune import FinetuningRecord, train_adapter
from archloop.finetuning.training_set import (
    TrainingSet,
)


def train_each(device: str, trainings: list[dict]) -> FinetuningRecord:
    """Train one adapter after the other; return the run record of the last."""
    return [train_adapter(device=device, **arguments) for arguments in trainings][-1]


def test_two_processes_give_the_adapter_of_one_but_for_the_rounding_of_sums(tiny_model, tmp_path, monkeypatch):
    cases = {"sft": {}, "accuracy": BY_ACCURACY, "kto": {"method": "kto"}}
    for name, changes in cases.items():
        run(tiny_model, tmp_path / "one" / name, candidates=FAILED, **changes)
    trainings = []
    monkeypatch.setattr(
        module, "train_adapter", lambda pairs, job, device: trainings.append({"training_set": pairs, "job": job})
    )
    for name, changes in cases.items():
        run(tiny_model, tmp_path / "two" / name, candidates=FAILED, **changes)

    record = run_distributed(2, train_each, {"trainings": trainings}, "cpu")

    assert record.tokens > 0
    for name in cases:
        one, two = (tmp_path / processes / name / "adapter" for processes in ("one", "two"))
        weights, others = (load_file(folder / "adapter_model.safetensors") for folder in (one, two))
        assert all(torch.allclose(weights[key], others[key], atol=1e-4) for key in weights), name
        # Adam's first steps are as long as the learning rate whatever the gradient: far above the tolerance.
        assert max(weight.abs().max() for key, weight in others.items() if "lora_B" in key) > 1e-2, name
        losses = [json.loads((folder / "training.json").read_text())["losses"] for folder in (one, two)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4), name


def test_a_mistake_in_one_of_several_processes_is_one_line(tiny_model, tmp_path):
    arguments = {"training_set": TrainingSet("sft", []), "job": job(tmp_path / "nowhere", tmp_path)}
    with pytest.raises(InputError, match=r"nowhere/manifest\.json: no such file$"):
        run_distributed(2, train_adapter, arguments, "cpu")


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        ("InputError: lower it", InputError, "^lower it$"),
        ("ValueError: of 3", RuntimeError, "^process 1 of 2 failed: Traceback: of 3$"),
        ("", RuntimeError, "^process 1 of 2 failed: Signal 9"),
    ],
)
def test_what_several_processes_give_or_raise_is_that_of_the_first(tmp_path, monkeypatch, raised, kind, says):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    def launched(launch, function):
        return lambda *given: {0: "first", 1: "second"}

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", launched)
    assert run_distributed(2, train_adapter, {}, "cpu") == "first"
    if raised:
        told = {"message": raised, "extraInfo": {"py_callstack": "Traceback: of 3", "timestamp": "1"}}
        (tmp_path / "error").write_text(json.dumps({"message": told}))
    failure = ProcessFailure(local_rank=1, pid=1, exitcode=-9, error_file=str(tmp_path / "error"))

    def failed(launch, function):
        def start(*given):
            raise ChildFailedError("work", {1: failure})

        return start

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", failed)
    with pytest.raises(kind, match=says):
        run_distributed(2, train_adapter, {}, "cpu")
