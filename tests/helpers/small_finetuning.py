"""A fine-tuning of the tiny model on a few programs."""

from dataclasses import replace

from sections import LOADING

from archloop.finetuning.finetune import AdapterJob, FinetuningRecord, finetune
from archloop.finetuning.training_set import (
    JudgedProgram,
    ScoredProgram,
    TrainingPrograms,
)
from archloop.settings.sections import Finetuning

SETTINGS = Finetuning(
    method="sft",
    beta=0.1,
    sft_weight=1.0,
    rejected=["construct", "forward"],
    order="random",
    accuracy_weight=0.0,
    epochs=2,
    learning_rate=1e-2,
    weight_decay=0.01,
    warmup_steps=2,
    batch_size=2,
    accumulation=2,
    max_pair_tokens=400,
    max_grad_norm=1.0,
    lora_rank=4,
    lora_alpha=8,
    lora_dropout=0.1,
    targets=["v_proj", "q_proj", "down_proj"],
    layers=[1, 2],
    train_on="corpus",
    initialise="previous",
    replay=None,
    gradient_checkpointing=False,
    checkpoint_steps=1,
)
CORPUS = [
    ScoredProgram(
        prompt=f"Design net {i}.",
        program="import torch\n" + f"x = {i}\n" * (i % 5 + 1),
        dataset="digits",
        accuracy=0.5 + 0.02 * i,
        cycle=0,
    )
    for i in range(12)
]
# What a judge may have said of answers to the same prompts.
FAILED = [JudgedProgram(f"Design net {i}.", f"import torch\ny = {i}\n", "forward") for i in range(8)]
# The other order of the training data, and the other weights.
BY_ACCURACY = {"order": "accuracy", "accuracy_weight": 1.0}


def job(tiny_model, folder, parent=None, loading=LOADING, code="", **changes) -> AdapterJob:
    settings = replace(SETTINGS, **changes)
    return AdapterJob(tiny_model, parent, folder / "adapter", folder / "state", settings, loading, 5, code)


def run(tiny_model, folder, admitted=CORPUS, corpus=(), candidates=(), **changes) -> FinetuningRecord:
    programs = TrainingPrograms(list(corpus), list(admitted), list(candidates))
    return finetune(programs, job(tiny_model, folder, **changes), "cpu")


def adapter(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()
