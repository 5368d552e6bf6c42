"""Fine-tuning of an adapter: what it starts from, its lineage, and what is refused."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from sections import LOADING
from small_finetuning import CORPUS, FAILED, SETTINGS, adapter, run

import archloop.finetuning.finetune as module
from archloop.corpus.tables import CORPUS as SCHEMA
from archloop.corpus.tables import write_corpus
from archloop.errors import InputError
from archloop.finetuning.finetune import CycleFiles, CycleJob, FinetuningRecord, finetune_cycle
from archloop.finetuning.objectives import answer_logps
from archloop.finetuning.train_loop import (
    trainable_weights,
)
from archloop.layout import ROOT
from archloop.model.adapters import attach_adapter
from archloop.model.chat_template import encode_pair
from archloop.model.loading import load_model, load_tokenizer
from archloop.settings.sections import Loading


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


def test_a_job_trains_on_the_files_of_its_cycle_and_says_what_it_took(tiny_model, tmp_path, zero):
    rows = pl.DataFrame([{name: asdict(row).get(name) for name in SCHEMA} for row in CORPUS], schema=SCHEMA)
    write_corpus(rows, tmp_path / "corpus.parquet")
    files = CycleFiles(
        admitted=tmp_path / "corpus.parquet",
        corpus=(),
        candidates=None,
        model=tiny_model / "manifest.json",
        parent=None,
        state=tmp_path / "state",
        output=tmp_path / "adapter" / "adapter_model.safetensors",
        run_record=tmp_path / "run.json",
    )
    job = CycleJob(seed=5, device="cpu", gpus=1, code="", started=time.monotonic() - 1000)
    extras = finetune_cycle(files, SETTINGS, LOADING, job)
    assert adapter(tmp_path) == adapter(zero)
    assert extras == {
        "outputs": [tmp_path / "adapter" / name for name in ("adapter_config.json", "training.json")],
        "spent": tmp_path / "state" / "checkpoint.pt",
    }
    assert all(path.is_file() for path in [*extras["outputs"], extras["spent"]])
    record = json.loads(files.run_record.read_text())
    assert (record["device"], record["pairs"]) == ("cpu", len(CORPUS)) and record["seconds"] > 1000


def test_two_runs_give_the_same_bytes(tiny_model, tmp_path, zero):
    run(tiny_model, tmp_path)
    for file in ("adapter_model.safetensors", "adapter_config.json", "training.json"):
        one, two = ((folder / "adapter" / file).read_bytes() for folder in (zero, tmp_path))
        assert one == two, file


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


def test_a_cycle_goes_on_from_its_parent(tiny_model, tmp_path, parent):
    run(tiny_model, tmp_path / "one", admitted=CORPUS[:2], parent=parent, learning_rate=1e-9)
    before, after = load_file(parent), load_file(tmp_path / "one" / "adapter" / "adapter_model.safetensors")
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    lineage = json.loads((tmp_path / "one" / "adapter" / "training.json").read_text())
    assert lineage["parent"] == module.sha256_file(parent)


def test_with_nothing_new_the_adapter_is_kept_unchanged(tiny_model, tmp_path, zero, parent):
    record = run(tiny_model, tmp_path, admitted=[], corpus=CORPUS, parent=parent)
    assert adapter(tmp_path) == adapter(zero)
    assert (tmp_path / "adapter" / "adapter_config.json").read_bytes() == (
        (zero / "adapter" / "adapter_config.json").read_bytes()
    )
    assert record == FinetuningRecord(device=None, tokens=0, pairs=0)
    before, after = (json.loads((folder / "adapter" / "training.json").read_text()) for folder in (zero, tmp_path))
    assert after == before | {"carried_on": True, "parent": module.sha256_file(parent)}


def test_pairs_that_are_too_long_are_left_out_and_counted(tiny_model, tmp_path):
    run(tiny_model, tmp_path, admitted=[*CORPUS, replace(CORPUS[0], program="x = 1\n" * 300)])
    training = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert (training["pairs"], training["left_out_too_long"]) == (12, 1)


def test_the_record_of_a_run_says_where_it_ran_and_what_it_saw(tiny_model, tmp_path):
    record = run(tiny_model, tmp_path, admitted=CORPUS[:1])
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
    run(tiny_model, tmp_path, admitted=CORPUS[:3], corpus=CORPUS[3:], replay=2)
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


def test_an_adapter_goes_on_with_the_model_that_it_was_trained_on_alone(tiny_model, tmp_path, zero):
    path = tmp_path / "other" / "training.json"
    shutil.copytree(zero / "adapter", path.parent)
    training = json.loads(path.read_text())
    training["base"]["files"]["model.safetensors"] = "0" * 64
    path.write_text(json.dumps(training))
    with pytest.raises(InputError, match=r"trained on folder:tiny, whose model\.safetensors is another"):
        run(tiny_model, tmp_path / "one", parent=path.with_name("adapter_model.safetensors"))


def test_no_dropout_is_left_where_the_reference_has_none(tiny_model):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, replace(SETTINGS, lora_dropout=0.5))
    model.model.model.layers[0].self_attn.attention_dropout = 0.5
    module.without_dropout(model.train())
    with torch.no_grad():
        for weight in trainable_weights(model):
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


def test_the_lineage_names_base_parent_training_set_and_settings(tiny_model, tmp_path, zero, parent):
    run(tiny_model, tmp_path, parent=parent, admitted=CORPUS[:3])
    zero, one = (json.loads((folder / "adapter" / "training.json").read_text()) for folder in (zero, tmp_path))
    fields = "base carried_on failed_left_out left_out_too_long loading losses method pairs parent seed settings"
    assert " ".join(sorted(one)) == f"{fields} training_set"
    expected = {"method": "sft", "pairs": 3, "failed_left_out": 0, "left_out_too_long": 0, "carried_on": False}
    assert {name: one[name] for name in expected} == expected and len(one["losses"]) == 2
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


def test_transformers_is_imported_only_after_it_was_told_to_stay_offline():
    """What a job imports before it loads its model; transformers reads its environment once."""
    stages = "archloop.finetuning.finetune, archloop.generation.generate, archloop.scratch_model.train_model"
    script = f"import sys; sys.path.insert(0, 'scripts'); import {stages}; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


@pytest.mark.parametrize(("method", "rate"), [("sft", 0.1), ("dpo", 0.0), ("kto", 0.0)])
def test_an_adapter_says_the_dropout_that_it_was_trained_with(tiny_model, tmp_path, method, rate):
    run(tiny_model, tmp_path, admitted=CORPUS[:2], candidates=FAILED[:2], method=method, epochs=1)
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
    settings = {"admitted": CORPUS[:4], "epochs": 1}
    for name, rate in (("none", 0.0), ("half", 0.5)):
        run(tiny_model, tmp_path / name, lora_dropout=rate, **settings)
    assert adapter(tmp_path / "none") != adapter(tmp_path / "half")
