"""What the layers below the adapter make of a text is computed once, and changes no byte."""

import pytest
import torch
from sections import LOADING
from small_finetuning import FAILED, SETTINGS, adapter, run
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

import archloop.finetuning.lower_layers as lower_layers
from archloop.model.adapters import attach_adapter
from archloop.model.loading import load_model


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
