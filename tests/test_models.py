"""A language model is prepared into a folder of its own, and what is broken is named in one line."""

import json

import pytest

from archloop.errors import InputError
from archloop.models import load_adapter, load_model, load_tokenizer, prepare_model

LOADING = {"dtype": "float32", "quantization": "none"}


def test_a_folder_becomes_a_prepared_model_and_is_prepared_again(tiny_model, tmp_path):
    for _ in range(2):
        prepare_model(f"folder:{tiny_model}", None, None, tmp_path / "model")
    assert "model.safetensors" in json.loads((tmp_path / "model" / "manifest.json").read_text())["files"]


def test_what_a_cut_download_leaves_is_cleared(tiny_model, tmp_path):
    (tmp_path / "model" / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "model" / "half.safetensors").write_bytes(b"")
    prepare_model(f"folder:{tiny_model}", None, None, tmp_path / "model")
    assert not (tmp_path / "model" / "half.safetensors").exists()
    assert not (tmp_path / "model" / ".cache").exists()


def test_a_folder_that_holds_anything_else_is_left_alone(tiny_model, tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"notes\.md: no part of a model"):
        prepare_model(f"folder:{tiny_model}", None, None, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.md", "tokenizer.json"]


@pytest.mark.parametrize("reference", ["folder:{}", "gguf:{}/model.gguf"])
def test_a_model_inside_the_folder_that_it_is_prepared_into_is_kept(tmp_path, reference):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match="where the prepared model goes"):
        prepare_model(reference.format(tmp_path), None, None, tmp_path)
    assert (tmp_path / "model.gguf").is_file()


def test_a_tokenizer_without_its_manifest_is_named(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "cut weights", "cut config"])
def test_a_broken_adapter_is_named(tiny_model, tmp_path, damage):
    adapter = tmp_path / "adapter_model.safetensors"
    if damage != "gone":
        adapter.write_bytes(b"x" * 20)
        settings = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings)[: 10 if damage == "cut config" else None])
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        load_adapter(load_model(tiny_model, LOADING, "cpu"), adapter)
