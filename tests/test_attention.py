"""Models whose layers see a window or a chunk of the text are sampled as if each prompt were alone."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import archloop.sampling as sampling
from archloop.errors import InputError
from archloop.growing_cache import sees_all
from archloop.sampling import Prefix, Sequence, sample

SETTINGS = {"max_new_tokens": 14, "temperature": 0, "top_p": 1.0, "top_k": 0, "line_retries": 0}
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
    for _ in range(SETTINGS["max_new_tokens"]):
        ids.append(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax().item())
    return ids[len(prompt) :]


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_model_with_a_window_gives_in_a_batch_what_it_gives_alone(family, monkeypatch):
    monkeypatch.setattr(sampling, "ROUNDING", 0.0)  # no draw is settled alone
    monkeypatch.setattr(sampling, "end_of_turn", lambda tokenizer: None)
    model = small(family)
    dice = torch.Generator().manual_seed(2)
    begin = torch.randint(1, 64, (12,), generator=dice).tolist()
    prompts = [begin + torch.randint(1, 64, (more,), generator=dice).tolist() for more in (1, 9, 18)]
    made = [Sequence(prompt, 0) for prompt in prompts]
    list(sample(model, Words(), made, 3, SETTINGS))
    assert [each.new for each in made] == [alone(model, prompt) for prompt in prompts]
    assert Prefix(model, prompts).length == (12 if family == "llama" else 0)


def test_no_line_is_dropped_where_it_would_count_in_a_window():
    model = small("mistral")
    with pytest.raises(InputError, match=r"generation\.line_retries: mistral attends to a window"):
        next(sample(model, Words(), [Sequence([1, 2], 0)], 1, SETTINGS | {"line_retries": 1}))
    assert sees_all(small("llama").config) and not sees_all(model.config)
