"""What is taken of a folder or a hub as the model, and what is found out about it before any job."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sections import LOADING, defaults
from transformers import AutoConfig, AutoModelForCausalLM

from archloop.errors import InputError
from archloop.model.adapters import attach_adapter, save_adapter
from archloop.model.loading import load_model, load_tokenizer
from archloop.model.memory import read_header
from archloop.model.prepare_model import parts_of_model, prepare_model
from archloop.model.prepared import check_model
from archloop.settings.sections import Finetuning, Model

SHAPE = defaults(Finetuning, lora_rank=4, lora_alpha=8, lora_dropout=0.0, layers=None)


@pytest.fixture
def source(tiny_model, tmp_path) -> Path:
    """A folder with a model, as people have it."""
    folder = shutil.copytree(tiny_model, tmp_path / "source")
    (folder / "manifest.json").unlink()
    return folder


def prepared(source: Path) -> Path:
    prepare_model(Model("tiny", f"folder:{source}", None, None), source.parent / "model")
    return source.parent / "model"


def with_adapter_beside(source: Path) -> None:
    """Leave an adapter of other projections in a model's folder, as a trainer does."""
    model = AutoModelForCausalLM.from_pretrained(source)
    model = attach_adapter(model, None, replace(SHAPE, targets=["q_proj", "k_proj"]))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight)
    save_adapter(model, source, source, {})


def test_an_adapter_beside_a_model_is_left_out_and_said(source, caplog):
    bare = AutoModelForCausalLM.from_pretrained(source)
    with_adapter_beside(source)
    folder = prepared(source)
    assert "an adapter lies beside the model and is not used" in caplog.text
    loaded, ids = load_model(folder, LOADING, "cpu"), torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(loaded(ids).logits, bare(ids).logits)
    own = attach_adapter(loaded, None, replace(SHAPE, targets=["q_proj", "v_proj"]))
    save_adapter(own, source.parent / "adapter", folder, {})
    names = read_header(source.parent / "adapter" / "adapter_model.safetensors").tensors
    assert {name.split(".")[-3] for name in names if "lora" in name} == {"q_proj", "v_proj"}


def test_an_adapter_that_is_put_into_a_prepared_model_is_refused(source):
    folder = prepared(source)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="an adapter was put beside the model"):
        check_model(folder)


@pytest.mark.parametrize("in_parts", [False, True])
def test_weights_that_no_index_names_are_neither_taken_nor_required(source, in_parts, caplog):
    caplog.set_level("INFO", "archloop")
    for name in ("consolidated.safetensors", "model.fp16.safetensors"):
        shutil.copy(source / "model.safetensors", source / name)
    for name in ("pytorch_model.bin", "trainer_state.json", "optimizer.pt", "README.txt"):
        (source / name).write_text("{}")
    if in_parts:
        weights = load_file(source / "model.safetensors")
        (source / "model.safetensors").unlink()
        places = {name: f"model-{place % 2}.safetensors" for place, name in enumerate(weights)}
        for part in set(places.values()):
            save_file(
                {name: weights[name] for name in weights if places[name] == part}, source / part, {"format": "pt"}
            )
        (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    folder = prepared(source)
    wanted = {"model-0.safetensors", "model-1.safetensors"} if in_parts else {"model.safetensors"}
    assert {path.name for path in folder.glob("*.safetensors")} == wanted
    assert not {"trainer_state.json", "README.txt", "pytorch_model.bin"} & set(check_model(folder).files)
    assert (
        "left out, no part of the model: consolidated.safetensors, model.fp16.safetensors, pytorch_model.bin"
        in caplog.text
    )
    load_model(folder, LOADING, "cpu")


def test_a_part_that_the_index_names_and_nobody_has_is_named(tmp_path):
    index = tmp_path / "index.json"
    index.write_text('{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    with pytest.raises(InputError, match=r"names model-2\.safetensors, which is not there"):
        parts_of_model(["model.safetensors.index.json", "model-1.safetensors"], lambda: index)


def test_a_model_is_prepared_anew_where_its_provenance_lies(source):
    (prepared(source) / "manifest.json.provenance").write_text("{}")
    assert sorted(path.name for path in prepared(source).iterdir() if "provenance" in path.name) == []


def test_what_tokenizers_read_is_taken():
    names = ["tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "spiece.model"]
    assert parts_of_model(names, lambda: None) == sorted(names)


def edited(name: str, **keys: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | keys))

    return edit


def narrower(folder: Path) -> None:
    """Take the last rows off the embeddings: what is left knows no added token of the last ones."""
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size -= 10
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def with_added_token(folder: Path) -> None:
    tokenizer = load_tokenizer(prepared(folder))
    tokenizer.add_tokens(["<|extra|>"])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (edited("tokenizer_config.json", pad_token="[PAD]"), r"its tokenizer's pad token is 1024 \('\[PAD\]'\)"),
        (with_added_token, r"its tokenizer's added token is 1024 \('<\|extra\|>'\)"),
        (
            edited("generation_config.json", eos_token_id=[2, 60000]),
            r"end of text \(generation_config\.json\) is 60000",
        ),
        (edited("generation_config.json", eos_token_id=[[2]]), r"generation_config\.json: eos_token_id: \[\[2\]\]"),
        (narrower, "its tokenizer's vocabulary's last token is 1023"),
    ],
    ids=["pad", "added", "end", "nested", "vocabulary"],
)
def test_every_token_that_a_job_may_use_has_a_row_in_the_embeddings(source, damage, says):
    damage(source)
    with pytest.raises(InputError, match=says):
        prepared(source)


def test_a_tokenizer_that_changes_a_program_is_refused(source):
    path = source / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": "    "}, "content": " "}
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="its tokenizer does not give a program back as it was"):
        prepared(source)


@pytest.mark.parametrize("family", ["mamba", "jamba", "falcon_h1", "qwen3_next", "recurrent_gemma"])
def test_recurrent_models_and_hybrids_are_refused(source, family):
    AutoConfig.for_model(family).save_pretrained(source)
    with pytest.raises(InputError, match=r"is recurrent or a hybrid \("):
        prepared(source)
