"""Fine-tuning: the loss on answers alone, similar lengths together, resumed as if never cut."""

import itertools
import json
import math
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

import archloop.finetuning.finetune as module
import archloop.finetuning.lower_layers as lower_layers
from archloop.errors import InputError
from archloop.files import sha256_text
from archloop.finetuning.distributed import processes_for, run_distributed
from archloop.finetuning.finetune import AdapterJob, FinetuningRecord, finetune, train_adapter
from archloop.finetuning.objectives import Example, answer_logps, sft_loss
from archloop.finetuning.train_loop import (
    Batching,
    ascending_batches,
    length_grouped_batches,
    plan_steps,
    rate_at,
    share_of_process,
    trainable,
)
from archloop.finetuning.training_set import (
    CorpusProgram,
    JudgedProgram,
    TrainingPair,
    TrainingPrograms,
    TrainingSet,
    accuracy_weights,
    scored,
    training_rows,
)
from archloop.layout import ROOT
from archloop.model.adapters import attach_adapter
from archloop.model.chat_template import encode_pair
from archloop.model.loading import load_model, load_tokenizer
from archloop.settings.sections import Finetuning, Loading

LOADING = Loading(dtype="float32", quantization="none")
SETTINGS = Finetuning(
    method="sft",
    beta=0.1,
    sft_weight=1.0,
    dispreferred=["construct", "forward"],
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
    CorpusProgram(
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


def run(tiny_model, folder, fresh=CORPUS, corpus=(), candidates=(), **changes) -> FinetuningRecord:
    programs = TrainingPrograms(list(corpus), list(fresh), list(candidates))
    return finetune(programs, job(tiny_model, folder, **changes), "cpu")


@pytest.fixture(scope="module")
def zero(tiny_model, tmp_path_factory):
    """The folder of a fine-tuning with the settings above, made once; no test changes it."""
    folder = tmp_path_factory.mktemp("zero")
    run(tiny_model, folder)
    return folder


@pytest.fixture
def parent(zero):
    return zero / "adapter" / "adapter_model.safetensors"


def adapter(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


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


def test_batches_hold_every_index_once_and_similar_lengths():
    lengths = [(i * 37) % 400 + 50 for i in range(210)]
    batches = length_grouped_batches(lengths, 4, "seed")
    assert sorted(i for batch in batches for i in batch) == list(range(210))
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert 1 - sum(lengths) / padded < 0.08
    assert length_grouped_batches(lengths, 4, "seed") == batches != length_grouped_batches(lengths, 4, "other")


def test_scores_are_standard_deviations_from_the_mean_of_the_data_set():
    accuracies = [("a", 0.4), ("a", 0.6), ("b", 0.9), ("b", 0.9)]
    rows = [CorpusProgram("", "", dataset, accuracy, cycle=0) for dataset, accuracy in accuracies]
    assert [pair.score for pair in scored(rows)] == pytest.approx([-1.0, 1.0, 0.0, 0.0])


def test_weights_are_exponential_with_mean_one_and_bounded():
    weights = accuracy_weights([-1.0, 0.0, 1.0], 0.5)
    assert sum(weights) == pytest.approx(3)
    assert [b / a for a, b in itertools.pairwise(weights)] == pytest.approx([math.exp(0.5)] * 2)
    assert accuracy_weights([-1.0, 3.0], 0.0) == [1.0, 1.0]
    far = accuracy_weights([0.0] * 99 + [1000.0], 5.0)
    assert far[-1] / far[0] == pytest.approx(20)
    assert accuracy_weights([], 1.0) == []


def test_a_weight_multiplies_the_loss_of_its_answer(tiny_model):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, replace(SETTINGS, lora_dropout=0.0))
    losses = [sft_loss(model, [Example([5, 6], answer)], 0.0).item() for answer in ([8, 9], [12, 13, 14])]
    both = [Example([5, 6], [8, 9], weight=0.5), Example([5, 6], [12, 13, 14], weight=1.5)]
    assert sft_loss(model, both, 0.0).item() == pytest.approx(0.5 * losses[0] + 1.5 * losses[1], rel=1e-5)


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


@pytest.mark.parametrize("changes", [{"order": "accuracy"}, {"accuracy_weight": 1.0}])
def test_order_and_weight_by_accuracy_change_the_adapter_and_nothing_hangs_on_chance(
    tiny_model, tmp_path, zero, changes
):
    for name in ("one", "two"):
        run(tiny_model, tmp_path / name, **changes)
    assert adapter(tmp_path / "one") == adapter(tmp_path / "two") != adapter(zero)


def test_a_new_adapter_learns_only_in_its_layers_and_projections(zero, parent):
    names = set(load_file(parent))
    assert names and all(".layers.1." in name for name in names)
    assert {name.split(".")[-3] for name in names} == {"v_proj", "q_proj", "down_proj"}
    losses = json.loads((zero / "adapter" / "training.json").read_text())["losses"]
    assert losses[1] < losses[0]


def test_two_runs_give_the_same_bytes(tiny_model, tmp_path, zero):
    run(tiny_model, tmp_path)
    for file in ("adapter_model.safetensors", "adapter_config.json", "training.json"):
        one, two = ((folder / "adapter" / file).read_bytes() for folder in (zero, tmp_path))
        assert one == two, file


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


@pytest.mark.parametrize("change", ["code", "version"])
def test_a_checkpoint_of_other_code_or_versions_is_not_used(tiny_model, tmp_path, monkeypatch, change):
    steps, real = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **o: steps.append(1) or real(self, *a, **o))
    run(tiny_model, tmp_path, code="one")
    run(tiny_model, tmp_path, code="one")
    assert len(steps) == 6
    if change == "version":
        monkeypatch.setattr(module, "versions", lambda packages: {"torch": "9"})
    run(tiny_model, tmp_path, code="two" if change == "code" else "one")
    assert len(steps) == 12


def test_the_first_step_learns_and_the_rate_rises_to_its_peak_and_falls_to_nothing(tiny_model, tmp_path):
    rates = [rate_at(step, 3, 10) for step in range(11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True) and rates[-1] == 0.0 < rates[-2]
    assert rate_at(0, 1, 1) == 0.5 and rate_at(0, 0, 1) == 1.0 and rate_at(1, 0, 1) == 0.0
    run(tiny_model, tmp_path, fresh=CORPUS[:1], epochs=1)
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(weight.any() for name, weight in weights.items() if "lora_B" in name)


def test_a_cycle_goes_on_from_its_parent(tiny_model, tmp_path, parent):
    run(tiny_model, tmp_path / "one", fresh=CORPUS[:2], parent=parent, learning_rate=1e-9)
    before, after = load_file(parent), load_file(tmp_path / "one" / "adapter" / "adapter_model.safetensors")
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    lineage = json.loads((tmp_path / "one" / "adapter" / "training.json").read_text())
    assert lineage["parent"] == module.sha256_file(parent)


def test_with_nothing_new_the_adapter_is_kept_unchanged(tiny_model, tmp_path, zero, parent):
    record = run(tiny_model, tmp_path, fresh=[], corpus=CORPUS, parent=parent)
    assert adapter(tmp_path) == adapter(zero)
    assert (tmp_path / "adapter" / "adapter_config.json").read_bytes() == (
        (zero / "adapter" / "adapter_config.json").read_bytes()
    )
    assert record == FinetuningRecord(device=None, tokens=0, pairs=0)
    before, after = (json.loads((folder / "adapter" / "training.json").read_text()) for folder in (zero, tmp_path))
    assert after == before | {"carried_on": True, "parent": module.sha256_file(parent)}


def test_pairs_that_are_too_long_are_left_out_and_counted(tiny_model, tmp_path):
    run(tiny_model, tmp_path, fresh=[*CORPUS, replace(CORPUS[0], program="x = 1\n" * 300)])
    training = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert (training["pairs"], training["left_out_too_long"]) == (12, 1)


def test_the_record_of_a_run_says_where_it_ran_and_what_it_saw(tiny_model, tmp_path):
    record = run(tiny_model, tmp_path, fresh=CORPUS[:1])
    prompt, answer = encode_pair(load_tokenizer(tiny_model), CORPUS[0].prompt, CORPUS[0].program)
    assert record == FinetuningRecord(device="cpu", tokens=2 * (len(prompt) + len(answer)), pairs=1)


@pytest.mark.parametrize(("processes", "warned"), [(2, False), (3, True)])
def test_more_gpus_than_batches_in_a_step_are_told_and_used_all_the_same(
    tiny_model, tmp_path, monkeypatch, processes, warned
):
    said = []
    monkeypatch.setattr(module.logger, "warning", lambda text, *values: said.append(text % values))
    monkeypatch.setattr(module, "processes_for", lambda gpus, device: processes)
    monkeypatch.setattr(module, "run_distributed", lambda count, function, arguments, device: count)
    assert run(tiny_model, tmp_path) == processes
    assert said == (["finetuning.accumulation is 2: more GPUs have nothing to do"] if warned else [])


def test_replay_draws_that_many_pairs_of_the_earlier_corpus(tiny_model, tmp_path):
    run(tiny_model, tmp_path, fresh=CORPUS[:3], corpus=CORPUS[3:], replay=2)
    assert json.loads((tmp_path / "adapter" / "training.json").read_text())["pairs"] == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lora_rank": 8}, r"lora_rank: .* has 4, not 8"),
        ({"lora_alpha": 4}, r"lora_alpha: .* has 8, not 4"),
        ({"targets": ["v_proj"]}, r"targets: .* has \['down_proj', 'q_proj', 'v_proj'\], not \['v_proj'\]"),
        ({"layers": None}, r"layers: .* has \[1\], not None"),
    ],
    ids=str,
)
def test_another_shape_than_the_parents_is_refused(tiny_model, tmp_path, parent, change, says):
    with pytest.raises(InputError, match=rf"finetuning\.{says}"):
        run(tiny_model, tmp_path, parent=parent, **change)


def test_another_dropout_than_the_parents_is_taken(tiny_model, parent):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), parent, replace(SETTINGS, lora_dropout=0.3))
    rates = {module.p for name, module in model.named_modules() if name.endswith("lora_dropout.default")}
    assert rates == {0.3}
    assert any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(
    "change",
    [{"targets": ["q_proj", "nothing"]}, {"layers": [1, 3]}, {"layers": [2, 1]}, {"targets": ["lm_head"]}],
    ids=str,
)
def test_what_the_model_does_not_have_is_refused_in_one_line(tiny_model, tmp_path, change):
    with pytest.raises(InputError, match=rf"finetuning\.{min(change)}: "):
        run(tiny_model, tmp_path, **change)


def test_a_training_that_diverges_stops_in_one_line_and_keeps_no_checkpoint_of_it(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"step \d of 6: the loss or its gradient is no finite number"):
        run(tiny_model, tmp_path, learning_rate=1e30, max_grad_norm=1e30, checkpoint_steps=2)
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_goes_on_with_the_model_that_it_was_trained_on_alone(tiny_model, tmp_path, zero):
    path = tmp_path / "other" / "training.json"
    shutil.copytree(zero / "adapter", path.parent)
    training = json.loads(path.read_text())
    training["base"]["files"]["model.safetensors"] = "0" * 64
    path.write_text(json.dumps(training))
    with pytest.raises(InputError, match=r"trained on folder:tiny, whose model\.safetensors is another"):
        run(tiny_model, tmp_path / "one", parent=path.with_name("adapter_model.safetensors"))


@pytest.mark.parametrize("change", [{"order": "accuracy"}, {"accuracy_weight": 1.0}], ids=str)
def test_what_failed_has_no_accuracy_to_go_by(tiny_model, tmp_path, change):
    with pytest.raises(InputError, match="kto knows no order and no accuracy_weight"):
        run(tiny_model, tmp_path, method="kto", candidates=FAILED, **change)


@pytest.mark.parametrize("accuracy", [None, math.nan])
def test_a_corpus_without_accuracy_is_refused(tiny_model, tmp_path, accuracy):
    with pytest.raises(InputError, match="has no accuracy"):
        run(tiny_model, tmp_path, fresh=[*CORPUS, replace(CORPUS[0], accuracy=accuracy)])


def test_no_dropout_is_left_where_the_reference_has_none(tiny_model):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, replace(SETTINGS, lora_dropout=0.5))
    model.model.model.layers[0].self_attn.attention_dropout = 0.5
    module.without_dropout(model.train())
    with torch.no_grad():
        for weight in trainable(model):
            weight.add_(0.05)  # a new adapter gives nothing, with dropout or without
    pairs = [([5, 6, 7], [8, 9, 10])]
    one, two = (answer_logps(model, pairs) for _ in range(2))
    assert torch.equal(one, two)


def test_a_first_adapter_needs_a_pair_that_fits(tiny_model, tmp_path):
    with pytest.raises(InputError, match="all 12 pairs are longer than 8 tokens"):
        run(tiny_model, tmp_path, max_pair_tokens=8)


def test_gradient_checkpointing_changes_no_byte(tiny_model, tmp_path, zero):
    run(tiny_model, tmp_path, gradient_checkpointing=True)
    assert adapter(tmp_path) == adapter(zero)


def test_accumulated_batches_are_one_large_batch(tiny_model, tmp_path):
    settings = {"fresh": CORPUS[:4], "epochs": 1, "lora_dropout": 0.0}
    run(tiny_model, tmp_path / "one", batch_size=4, accumulation=1, **settings)
    run(tiny_model, tmp_path / "four", batch_size=1, accumulation=4, **settings)
    one, four = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "four"))
    assert all(torch.allclose(one[name], four[name], atol=1e-5) for name in one)


@pytest.mark.parametrize(
    "loading",
    [Loading("bfloat16", "none"), Loading("float32", "nf4")],
    ids=["bfloat16", "nf4"],
)
def test_an_adapter_learns_in_float32_on_a_base_of_fewer_bits(tiny_model, tmp_path, loading):
    run(tiny_model, tmp_path, loading=loading)
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    training = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert training["losses"][1] < training["losses"][0] and training["loading"] == asdict(loading)


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


def test_as_many_processes_as_gpus_and_one_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [processes_for(2, "cpu"), processes_for(2, "cuda"), processes_for(1, "cuda")] == [1, 2, 1]
    for gpus, device, says in ((3, "cuda", "torch sees 2"), (2, "cuda:1", "names a single one")):
        with pytest.raises(InputError, match=says):
            processes_for(gpus, device)


def test_the_lineage_names_base_parent_training_set_and_settings(tiny_model, tmp_path, zero, parent):
    run(tiny_model, tmp_path, parent=parent, fresh=CORPUS[:3])
    zero, one = (json.loads((folder / "adapter" / "training.json").read_text()) for folder in (zero, tmp_path))
    fields = "base carried_on failed_left_out left_out_too_long loading losses method pairs parent seed settings"
    assert " ".join(sorted(one)) == f"{fields} training_set"
    facts = {"method": "sft", "pairs": 3, "failed_left_out": 0, "left_out_too_long": 0, "carried_on": False}
    assert {name: one[name] for name in facts} == facts and len(one["losses"]) == 2
    weights = module.sha256_file(tiny_model / "model.safetensors")
    assert one["base"]["files"]["model.safetensors"] == weights
    assert (one["base"]["reference"], one["base"]["revision"]) == ("folder:tiny", None)
    assert (zero["parent"], one["parent"]) == (None, module.sha256_file(parent))
    assert zero["training_set"] != one["training_set"]
    assert (one["settings"], one["loading"], one["seed"]) == (asdict(SETTINGS), asdict(LOADING), 5)


def test_without_verdicts_every_method_is_sft(tiny_model, tmp_path, zero):
    run(tiny_model, tmp_path, method="kto")
    assert adapter(tmp_path) == adapter(zero)


def test_dpo_without_a_pair_keeps_the_adapter(tiny_model, tmp_path, zero, parent):
    others = [replace(row, prompt="Another.") for row in FAILED]
    run(tiny_model, tmp_path, parent=parent, candidates=others, method="dpo")
    assert adapter(tmp_path) == adapter(zero)
    assert json.loads((tmp_path / "adapter" / "training.json").read_text())["carried_on"] is True


@pytest.mark.parametrize(
    ("method", "passes", "changes"),
    # How often the lower layer computes: once a pair; for dpo once a pair and its failed program, which go together.
    [
        ("sft", 12, {}),
        ("sft", 12, {"gradient_checkpointing": True}),
        ("dpo", 8, {}),
        ("sft", 24, {"layers": None}),
    ],
)
def test_what_no_training_changes_is_computed_once_and_changes_no_byte(
    tiny_model, tmp_path, monkeypatch, method, passes, changes
):
    changes = {"method": method, "candidates": FAILED, "batch_size": 1, "epochs": 2} | changes
    read, real = [], LlamaDecoderLayer.forward

    def watched(self, *arguments, **options):
        read.append(self.self_attn.layer_idx)
        return real(self, *arguments, **options)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", watched)
    run(tiny_model, tmp_path / "kept", **changes)
    assert read.count(0) == passes
    monkeypatch.setattr(lower_layers, "LARGEST_BYTES", 0)
    run(tiny_model, tmp_path / "anew", **changes)
    assert adapter(tmp_path / "kept") == adapter(tmp_path / "anew")


@pytest.mark.parametrize("lower", ["as it is", "random", "of a window"])
def test_a_lower_layer_that_is_random_or_sees_a_window_is_computed_anew(tiny_model, lower):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, SETTINGS)
    decoder = model.get_base_model().get_decoder()
    layers = decoder.layers
    if lower == "random":
        layers[0].self_attn.attention_dropout = 0.1
    if lower == "of a window":
        model.config.sliding_window = 8
    with lower_layers.computed_once(model):
        assert (decoder.layers is layers) is (lower != "as it is")
        assert decoder.layers[0].self_attn is layers[0].self_attn  # some models ask their layers what they are
        with pytest.raises(AttributeError):
            decoder.layers[0].nothing  # noqa: B018
    assert decoder.layers is layers


def test_no_more_is_kept_of_the_lower_layers_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(lower_layers, "LARGEST_BYTES", 100)
    memory, found = lower_layers.Memory(), []
    for number, size in enumerate((10, 15, 1)):  # numbers of four bytes: 40, 100 and 104 together
        memory.look_up(torch.full((2,), float(number)))
        memory.keep(torch.zeros(size))
        memory.look_up(torch.full((2,), float(number)))
        found.append(memory.output is not None)
    assert found == [True, True, False] and memory.size == 100


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


def row(program: str, cycle: int) -> CorpusProgram:
    return CorpusProgram("prompt", program, "digits", 0.5, cycle)


@pytest.mark.parametrize(
    ("settings", "fresh", "expected"),
    [
        ({"train_on": "corpus", "replay": None}, ["f"], ["f", "s0", "s1", "c"]),
        ({"train_on": "corpus", "replay": 3}, ["f"], ["f", "s0", "s1", "c"]),
        ({"train_on": "corpus", "replay": 0}, ["f"], ["f"]),
        ({"train_on": "seed_corpus", "replay": 0}, [], []),
        ({"train_on": "seed_corpus", "replay": 3}, ["f"], ["s0", "s0", "s1", "s1"]),
        ({"train_on": "seed_corpus", "replay": 1}, ["f"], ["s0", "s1"]),
    ],
)
def test_a_cycle_trains_on_its_own_rows_and_on_so_many_of_the_earlier_ones(settings, fresh, expected):
    corpus = [row("s0", 0), row("s1", 0), row("c", 1)]
    rows = training_rows(corpus, [row(name, 2) for name in fresh], replace(SETTINGS, **settings), 1)
    assert sorted(each.program for each in rows) == sorted(expected)


def test_a_share_of_the_earlier_rows_is_drawn_by_the_seed():
    corpus = [row(str(at), 0) for at in range(20)]
    settings = replace(SETTINGS, replay=5)
    drawn = [[each.program for each in training_rows(corpus, [], settings, seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) == 5


def test_each_of_several_processes_takes_its_share_the_longest_first():
    batches, lengths = [[0], [1, 2], [3], [4]], [5, 1, 1, 9, 3]  # 5, 2, 9 and 3 tokens
    assert share_of_process(batches, lengths, 0, 1) == [(0, [0]), (1, [1, 2]), (2, [3]), (3, [4])]
    shares = [share_of_process(batches, lengths, rank, 2) for rank in (0, 1)]
    assert shares == [[(2, [3]), (3, [4])], [(0, [0]), (1, [1, 2])]]


def test_the_digest_of_a_training_set_is_that_of_adapters_on_record():
    """Of rows as the first release wrote them: sha256 of each, and of these in lines."""
    one = TrainingPair("Design net 0.", "x = 0\n", -1.5)
    two = TrainingPair("Design net 1.", "x = 1\n", 0.5, rejected="y = 1\n", desirable=False)
    rows = [
        {"prompt": "Design net 0.", "program": "x = 0\n", "score": -1.5, "worse": None, "good": True},
        {"prompt": "Design net 1.", "program": "x = 1\n", "score": 0.5, "worse": "y = 1\n", "good": False},
    ]
    lines = "\n".join(sha256_text(repr(sorted(row.items()))) for row in rows)
    assert TrainingSet("dpo", [one, two]).digest() == sha256_text(lines)
    assert one.digest() == "2f479b1cfa01eed575c25df5bd87ff728a276b3d756e751f240394561b14a384"


def test_transformers_is_imported_only_after_it_was_told_to_stay_offline():
    """What a job imports before it loads its model; transformers reads its environment once."""
    stages = "archloop.finetuning.finetune, archloop.generation.generate, archloop.scratch_model.train_model"
    script = f"import sys; sys.path.insert(0, 'scripts'); import {stages}; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


@pytest.mark.parametrize(("method", "rate"), [("sft", 0.1), ("dpo", 0.0), ("kto", 0.0)])
def test_an_adapter_says_the_dropout_that_it_was_trained_with(tiny_model, tmp_path, method, rate):
    run(tiny_model, tmp_path, fresh=CORPUS[:2], candidates=FAILED[:2], method=method, epochs=1)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["lora_dropout"] == rate
    assert json.loads((tmp_path / "adapter" / "training.json").read_text())["method"] == method


def test_a_gpu_that_is_full_is_named_with_the_settings_that_help(tiny_model, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module, "train", full)
    with pytest.raises(InputError, match=r"^finetuning: the GPU's memory is full; set gradient_checkpointing, or a sm"):
        run(tiny_model, tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_cycle_that_begins_anew_has_no_parent(tiny_model, tmp_path, zero, parent):
    run(tiny_model, tmp_path, parent=parent, initialise="new")
    assert adapter(tmp_path) == adapter(zero)
    assert json.loads((tmp_path / "adapter" / "training.json").read_text())["parent"] is None


def test_dropout_takes_part_in_a_training(tiny_model, tmp_path):
    settings = {"fresh": CORPUS[:4], "epochs": 1}
    for name, rate in (("none", 0.0), ("half", 0.5)):
        run(tiny_model, tmp_path / name, lora_dropout=rate, **settings)
    assert adapter(tmp_path / "none") != adapter(tmp_path / "half")
