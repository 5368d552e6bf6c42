"""Models whose layers see a window or a chunk of the text are sampled as if each prompt were alone."""

from dataclasses import replace

import pytest
import torch
from sections import defaults
from transformers import AutoConfig, AutoModelForCausalLM

from archloop.errors import InputError
from archloop.generation import decode
from archloop.generation.decode import Decoder, Sequence, SharedPrefix, new_decoder, sample
from archloop.model.kv_cache import GrowingLayer, sees_all
from archloop.settings.sections import Generation

SETTINGS = defaults(Generation, max_new_tokens=14, temperature=0, top_p=1.0, top_k=0, line_retries=0)
SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "tie_word_embeddings": False,
}
# A window of the text: 8 tokens, far fewer than a prompt has.
FAMILIES = {
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 8},
    "phi3": {"sliding_window": 8},
    "mistral": {"sliding_window": 8},
    "gpt_oss": {"sliding_window": 8, "num_local_experts": 2, "num_experts_per_tok": 1},
    "llama4_text": {"attention_chunk_size": 8, "num_local_experts": 2, "intermediate_size_mlp": 32},
    "llama": {},
}


class Words:
    """As much of a tokenizer as sampling asks for."""

    eos_token_id, pad_token_id = None, 0

    def decode(self, tokens: object) -> str:
        return "x"


def small(family: str):
    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **SMALL | FAMILIES[family])
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def alone(model, prompt: list[int]) -> list[int]:
    """The most likely tokens after a prompt, each by a pass over the whole text."""
    ids = list(prompt)
    for _ in range(SETTINGS.max_new_tokens):
        ids.append(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax().item())
    return ids[len(prompt) :]


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_model_with_a_window_gives_in_a_batch_what_it_gives_alone(family, monkeypatch):
    monkeypatch.setattr(decode, "ROUNDING", 0.0)  # no draw is settled alone
    model = small(family)
    rng = torch.Generator().manual_seed(2)
    begin = torch.randint(1, 64, (12,), generator=rng).tolist()
    prompts = [begin + torch.randint(1, 64, (more,), generator=rng).tolist() for more in (1, 9, 18)]
    made = [Sequence(prompt, 0) for prompt in prompts]
    list(sample(Decoder(model, Words(), set(), SETTINGS), made, 3))
    assert [each.new for each in made] == [alone(model, prompt) for prompt in prompts]
    assert SharedPrefix(model, prompts).length == (12 if family == "llama" else 0)


def test_no_line_is_dropped_where_it_would_count_in_a_window():
    model = small("mistral")
    with pytest.raises(InputError, match=r"generation\.line_retries: mistral attends to a window"):
        new_decoder(model, Words(), replace(SETTINGS, line_retries=1))
    assert sees_all(small("llama").config) and not sees_all(model.config)


def test_room_grows_by_whole_steps_and_keeps_what_is_in_it():
    layer = GrowingLayer()
    states = torch.arange(2 * 3 * 257 * 4, dtype=torch.float32).reshape(2, 3, 257, 4)
    rooms = []
    for begin, end in ((0, 100), (100, 128), (128, 129), (129, 256), (256, 257)):
        part = states[:, :, begin:end]
        keys, values = layer.update(part, -part)
        assert torch.equal(keys, states[:, :, :end]) and torch.equal(values, -states[:, :, :end])
        rooms.append(layer.room[0])
    assert [room.shape[-2] for room in rooms] == [128, 128, 256, 256, 384]
    assert rooms[0] is rooms[1] and rooms[2] is rooms[3]  # full is no reason to copy


def test_sequences_that_leave_take_their_room_with_them():
    layer, states = GrowingLayer(), torch.arange(3.0).reshape(3, 1, 1, 1)
    layer.update(states, -states)
    layer.batch_select_indices(torch.tensor([0, 2]))
    assert (layer.keys.flatten().tolist(), layer.values.flatten().tolist()) == ([0.0, 2.0], [0.0, -2.0])
    keys, _ = layer.update(states[:2] + 5, states[:2])
    assert keys.flatten().tolist() == [0.0, 5.0, 2.0, 6.0]


def test_sequences_that_leave_before_any_token_is_added_leave_the_others_whole():
    layer, states = GrowingLayer(), torch.arange(2.0).reshape(2, 1, 1, 1)
    layer.update(states, -states)
    layer.batch_repeat_interleave(2)
    layer.batch_select_indices(torch.tensor([1, 2]))
    assert (layer.keys.flatten().tolist(), layer.values.flatten().tolist()) == ([0.0, 1.0], [0.0, -1.0])
