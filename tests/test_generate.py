"""Sampling: each candidate by its own seed, whatever is sampled beside it, and the program out of the answer."""

import random

import pytest
import torch

from archloop.chat import chat_tokens
from archloop.generate import _read_prompts, choose_tokens, extract_program, generate, sample
from archloop.models import load_model, load_tokenizer

LOADING = {"dtype": "float32", "quantization": "none"}
SETTINGS = {"batch_size": 4, "max_new_tokens": 12, "temperature": 1.0, "top_p": 0.95, "top_k": 0}


def prompts(count: int) -> list[dict]:
    return [
        {"id": f"c{i}", "index": i, "prompt": "Design a net. " + "Deeper. " * (i % 3), "seed": i} for i in range(count)
    ]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, LOADING, "cpu")


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_what_a_candidate_becomes_does_not_depend_on_the_batch(tiny_model, batch_size):
    whole, _ = generate(prompts(7), tiny_model, None, SETTINGS, LOADING, "cpu")
    other, _ = generate(prompts(7), tiny_model, None, SETTINGS | {"batch_size": batch_size}, LOADING, "cpu")
    assert other == whole


def test_candidates_keep_the_order_of_their_prompts_and_the_facts_of_their_making(tiny_model):
    made, record = generate(prompts(3), tiny_model, None, SETTINGS, LOADING, "cpu")
    assert [row["id"] for row in made] == ["c0", "c1", "c2"]
    assert record["new_tokens"] == sum(row["new_tokens"] for row in made)
    assert all(row["stopped"] == "length" and row["new_tokens"] == 12 for row in made)
    assert made[0]["prompt_tokens"] < made[2]["prompt_tokens"]


def test_other_seeds_give_other_answers(tiny_model):
    rows = prompts(2)
    rows[1] |= {"prompt": rows[0]["prompt"]}
    one, two = generate(rows, tiny_model, None, SETTINGS, LOADING, "cpu")[0]
    assert one["raw"] != two["raw"]


def test_the_shared_beginning_of_prompts_changes_no_logits(model, tokenizer):
    tokens = [chat_tokens(tokenizer, row["prompt"]) for row in prompts(3)]
    with torch.inference_mode():
        _, _, logits = _read_prompts(model, tokens, tokenizer.pad_token_id)
        alone = torch.cat([model(input_ids=torch.tensor([ids])).logits[:, -1] for ids in tokens])
    assert torch.allclose(logits, alone, atol=1e-4)


def test_greedy_sampling_is_that_of_transformers(model, tokenizer):
    ids = chat_tokens(tokenizer, "Design a net.")
    ours = next(iter(sample(model, tokenizer, [ids], [0], SETTINGS | {"temperature": 0})))[1]
    theirs = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12)[0, len(ids) :].tolist()
    assert ours == theirs


def test_draws_follow_the_distribution_and_stay_inside_top_k_and_top_p():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(4000, 1)
    dice = [random.Random(i) for i in range(4000)]
    free = choose_tokens(logits, dice, {"temperature": 1.0, "top_k": 0, "top_p": 1.0})
    assert [free.count(token) / 4000 for token in range(4)] == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert set(choose_tokens(logits, dice, {"temperature": 1.0, "top_k": 3, "top_p": 1.0})) == {0, 1, 2}
    assert set(choose_tokens(logits, dice, {"temperature": 1.0, "top_k": 0, "top_p": 0.8})) == {0, 1}
    assert set(choose_tokens(logits, dice, {"temperature": 1.0, "top_k": 0, "top_p": 0.01})) == {0}


@pytest.mark.parametrize(
    ("raw", "program"),
    [
        ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```\nx = 1\n\n```", "x = 1\n"),
        ("```python\nx = 1\ny =", "x = 1\ny =\n"),
        ("import torch\nclass Net:\n    pass", "import torch\nclass Net:\n    pass\n"),
        ("I cannot do that.", None),
        ("", None),
        ("```python\na\n```\n```python\nb\n```", "a\n"),
    ],
)
def test_the_program_is_the_first_fenced_block(raw, program):
    assert extract_program(raw) == program
