"""Fine-tuning: the loss on answers alone, similar lengths together, resumed as if never cut."""

import json

import pytest
import torch
from safetensors.torch import load_file

import archloop.finetune as module
from archloop.errors import InputError
from archloop.finetune import answer_loss, attach_adapter, encode_pair, finetune, length_grouped_batches
from archloop.models import load_model, load_tokenizer

LOADING = {"dtype": "float32", "quantization": "none"}
SETTINGS = {
    "epochs": 2,
    "learning_rate": 1e-2,
    "weight_decay": 0.01,
    "warmup_steps": 2,
    "batch_size": 2,
    "accumulation": 2,
    "max_length": 400,
    "max_grad_norm": 1.0,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "targets": ["v_proj", "q_proj", "down_proj"],
    "layers": [1, 2],
    "start_from": "previous",
    "replay": None,
    "gradient_checkpointing": False,
    "checkpoint_steps": 1,
}
CORPUS = [{"prompt": f"Design net {i}.", "program": "import torch\n" + f"x = {i}\n" * (i % 5 + 1)} for i in range(12)]


def run(tiny_model, folder, fresh=CORPUS, corpus=(), parent=None, **changes):
    return finetune(
        list(corpus),
        list(fresh),
        tiny_model,
        parent,
        folder / "adapter",
        folder / "state",
        SETTINGS | changes,
        LOADING,
        "cpu",
        5,
    )


def adapter(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_the_loss_counts_the_answers_tokens_and_nothing_else(tiny_model):
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, SETTINGS | {"lora_dropout": 0.0})
    pairs = [([5, 6, 7], [8, 9]), ([5, 6, 7, 10, 11], [12, 13, 14])]
    expected = 0.0
    for prompt, answer in pairs:
        labels = torch.tensor([[-100] * len(prompt) + answer])
        mean = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss.item()
        expected += mean * len(answer)
    assert answer_loss(model, pairs).item() == pytest.approx(expected, rel=1e-5)


def test_a_pair_is_the_chat_prompt_and_the_fenced_program_and_its_end(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    prompt, answer = encode_pair(tokenizer, "Design a net.", "x = 1\n\n")
    assert tokenizer.decode(prompt).endswith("Design a net.<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(answer) == "```python\nx = 1\n```" + tokenizer.eos_token


def test_batches_hold_every_index_once_and_similar_lengths():
    lengths = [(i * 37) % 400 + 50 for i in range(210)]
    batches = length_grouped_batches(lengths, 4, "seed")
    assert sorted(i for batch in batches for i in batch) == list(range(210))
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert 1 - sum(lengths) / padded < 0.08
    assert length_grouped_batches(lengths, 4, "seed") == batches != length_grouped_batches(lengths, 4, "other")


def test_a_new_adapter_learns_only_in_its_layers_and_projections(tiny_model, tmp_path):
    run(tiny_model, tmp_path)
    names = set(load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    assert names and all(".layers.1." in name for name in names)
    assert {name.split(".")[-3] for name in names} == {"v_proj", "q_proj", "down_proj"}
    losses = json.loads((tmp_path / "adapter" / "training.json").read_text())["losses"]
    assert losses[1] < losses[0]


def test_two_runs_give_the_same_bytes(tiny_model, tmp_path):
    for name in ("one", "two"):
        run(tiny_model, tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json", "training.json"):
        one, two = ((tmp_path / name / "adapter" / file).read_bytes() for name in ("one", "two"))
        assert one == two, file


@pytest.mark.parametrize("cut_after", [1, 4])
def test_a_run_that_was_cut_resumes_to_the_same_bytes(tiny_model, tmp_path, monkeypatch, cut_after):
    run(tiny_model, tmp_path / "whole")
    real, calls = torch.optim.AdamW.step, []

    def cut(self, *arguments, **options):
        calls.append(1)
        if len(calls) > cut_after:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(torch.optim.AdamW, "step", cut)
        run(tiny_model, tmp_path / "cut")
    assert (tmp_path / "cut" / "state" / "checkpoint.pt").is_file()
    steps = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **o: steps.append(1) or real(self, *a, **o))
    run(tiny_model, tmp_path / "cut")
    assert len(steps) == 6 - cut_after
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "whole")
    assert not (tmp_path / "cut" / "state" / "checkpoint.pt").exists()


@pytest.mark.parametrize("damage", ["other inputs", "torn"])
def test_a_checkpoint_of_other_inputs_or_a_torn_one_is_not_used(tiny_model, tmp_path, damage):
    run(tiny_model, tmp_path / "whole")
    state = tmp_path / "cut" / "state"
    state.mkdir(parents=True)
    if damage == "torn":
        (state / "checkpoint.pt").write_bytes(b"PK\x03\x04half")
    else:
        torch.save({"key": "another"}, state / "checkpoint.pt")
    run(tiny_model, tmp_path / "cut")
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "whole")


def test_a_cycle_goes_on_from_its_parent(tiny_model, tmp_path):
    run(tiny_model, tmp_path / "zero")
    parent = tmp_path / "zero" / "adapter" / "adapter_model.safetensors"
    run(tiny_model, tmp_path / "one", fresh=CORPUS[:2], parent=parent, learning_rate=1e-9)
    before, after = load_file(parent), load_file(tmp_path / "one" / "adapter" / "adapter_model.safetensors")
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    lineage = json.loads((tmp_path / "one" / "adapter" / "training.json").read_text())
    assert lineage["parent"] == module.sha256_file(parent)


def test_with_nothing_new_the_adapter_is_carried_on_unchanged(tiny_model, tmp_path):
    run(tiny_model, tmp_path / "zero")
    record = run(
        tiny_model,
        tmp_path / "one",
        fresh=[],
        corpus=CORPUS,
        parent=tmp_path / "zero/adapter/adapter_model.safetensors",
    )
    assert adapter(tmp_path / "one") == adapter(tmp_path / "zero")
    assert record["tokens"] == 0
    assert json.loads((tmp_path / "one" / "adapter" / "training.json").read_text())["carried_on"] is True


def test_pairs_that_are_too_long_are_left_out_and_counted(tiny_model, tmp_path):
    run(tiny_model, tmp_path, fresh=[*CORPUS, {"prompt": "p", "program": "x = 1\n" * 300}])
    training = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert (training["pairs"], training["left_out_too_long"]) == (12, 1)


def test_replay_draws_that_many_pairs_of_the_earlier_corpus(tiny_model, tmp_path):
    run(tiny_model, tmp_path, fresh=CORPUS[:3], corpus=CORPUS[3:], replay=2)
    assert json.loads((tmp_path / "adapter" / "training.json").read_text())["pairs"] == 5


def test_another_shape_than_the_parents_is_refused_and_another_dropout_taken(tiny_model, tmp_path):
    run(tiny_model, tmp_path)
    parent = tmp_path / "adapter" / "adapter_model.safetensors"
    with pytest.raises(InputError, match=r"finetuning\.lora_rank: .* has 4, not 8"):
        run(tiny_model, tmp_path / "next", parent=parent, lora_rank=8)
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), parent, SETTINGS | {"lora_dropout": 0.3})
    rates = {module.p for name, module in model.named_modules() if name.endswith("lora_dropout.default")}
    assert rates == {0.3}
    assert any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("change", [{"targets": ["nothing"]}, {"layers": [7, 9]}], ids=str)
def test_what_the_model_does_not_have_is_refused_in_one_line(tiny_model, tmp_path, change):
    with pytest.raises(InputError, match=r"finetuning\.targets, finetuning\.layers"):
        run(tiny_model, tmp_path, **change)


def test_a_first_adapter_needs_a_pair_that_fits(tiny_model, tmp_path):
    with pytest.raises(InputError, match="all 12 pairs are longer than 8 tokens"):
        run(tiny_model, tmp_path, max_length=8)
