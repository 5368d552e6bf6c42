"""Sampling: each candidate by its own seed, whatever is sampled beside it, and the program out of the answer."""

import random

import pytest
import torch

import archloop.generate as module
from archloop.chat import chat_tokens
from archloop.draws import choose_tokens
from archloop.generate import _read_prompts, extract_program, generate, sample
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


def run(model, folder, rows, **changes):
    return generate(rows, model, None, SETTINGS | changes, LOADING, "cpu", folder / "answers.jsonl")


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_what_a_candidate_becomes_does_not_depend_on_the_batch(tiny_model, tmp_path, batch_size):
    whole, _ = run(tiny_model, tmp_path / "one", prompts(7))
    other, _ = run(tiny_model, tmp_path / "two", prompts(7), batch_size=batch_size)
    assert other == whole


@pytest.mark.parametrize("finished", [1, 3, 4, 5])
def test_a_job_that_was_cut_makes_the_missing_answers_alone_and_ends_the_same(
    tiny_model, tmp_path, monkeypatch, finished
):
    whole, record = run(tiny_model, tmp_path / "whole", prompts(7))
    assert record["kept_from_earlier_runs"] == 0
    real, asked = sample, []

    def cut(model, tokenizer, tokens, *arguments):
        for answer in real(model, tokenizer, tokens, *arguments):
            if len(asked) == finished:
                raise KeyboardInterrupt
            asked.append(1)
            yield answer

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "sample", cut)
        run(tiny_model, tmp_path / "cut", prompts(7))
    with open(tmp_path / "cut" / "answers.jsonl", "a") as torn:
        torn.write('{"place": 0, "ids": [')
    asked.clear()
    counted = lambda model, tokenizer, tokens, *rest: asked.extend(tokens) or real(model, tokenizer, tokens, *rest)  # noqa: E731
    monkeypatch.setattr(module, "sample", counted)
    resumed, record = run(tiny_model, tmp_path / "cut", prompts(7))
    assert resumed == whole
    assert len(asked) == 7 - finished
    assert record["kept_from_earlier_runs"] == finished
    assert record["new_tokens"] == sum(row["new_tokens"] for row in whole)


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"max_new_tokens": 5}], ids=str)
def test_answers_of_other_settings_are_not_kept(tiny_model, tmp_path, change):
    run(tiny_model, tmp_path, prompts(3))
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4
    other, record = run(tiny_model, tmp_path, prompts(3), **change)
    assert record["kept_from_earlier_runs"] == 0
    assert other == run(tiny_model, tmp_path / "fresh", prompts(3), **change)[0]


def test_another_batch_size_keeps_what_is_finished(tiny_model, tmp_path):
    run(tiny_model, tmp_path, prompts(3))
    assert run(tiny_model, tmp_path, prompts(3), batch_size=1)[1]["kept_from_earlier_runs"] == 3


def test_answers_of_another_prompt_seed_or_code_are_not_kept(tiny_model, tmp_path):
    run(tiny_model, tmp_path, prompts(3))
    rows = prompts(3)
    rows[1]["seed"] = 99
    assert run(tiny_model, tmp_path, rows)[1]["kept_from_earlier_runs"] == 0
    last = {"kept": tmp_path / "answers.jsonl", "code": "another"}
    assert generate(rows, tiny_model, None, SETTINGS, LOADING, "cpu", **last)[1]["kept_from_earlier_runs"] == 0


def test_draws_near_an_edge_are_found_whatever_moves_the_logits():
    """Where a change of the logits within the tolerance changes the token, the draw was called uncertain."""
    torch.manual_seed(0)
    rounding, changed, unsure = 5e-4, 0, 0
    for settings in (
        {"temperature": 0.7, "top_k": 0, "top_p": 0.9},
        {"temperature": 0.2, "top_k": 5, "top_p": 0.99},
        {"temperature": 1.0, "top_k": 3, "top_p": 1.0},
        {"temperature": 0, "top_k": 0, "top_p": 1.0},
    ):
        logits = torch.randn(60_000, 12) * 2
        logits[:, 3] = logits[:, 7] + 3e-3 * torch.randn(60_000)  # some near ties
        draws = torch.rand(60_000, dtype=torch.float64).tolist()
        tokens, certain = choose_tokens(logits, draws, settings, rounding)
        unsure += certain.count(False)
        for _ in range(4):
            signs = torch.randint(0, 2, logits.shape) * 2.0 - 1
            moved, _ = choose_tokens(logits + signs * rounding, draws, settings)
            differs = [one != two for one, two in zip(tokens, moved)]
            changed += sum(differs)
            assert not any(was and sure for was, sure in zip(differs, certain))
    assert changed > 100 and unsure < 0.1 * 240_000


def test_candidates_keep_the_order_of_their_prompts_and_the_facts_of_their_making(tiny_model, tmp_path):
    made, record = run(tiny_model, tmp_path, prompts(3))
    assert [row["id"] for row in made] == ["c0", "c1", "c2"]
    assert record["new_tokens"] == sum(row["new_tokens"] for row in made)
    assert all(row["stopped"] == "length" and row["new_tokens"] == 12 for row in made)
    assert made[0]["prompt_tokens"] < made[2]["prompt_tokens"]


def test_other_seeds_give_other_answers(tiny_model, tmp_path):
    rows = prompts(2)
    rows[1] |= {"prompt": rows[0]["prompt"]}
    one, two = run(tiny_model, tmp_path, rows)[0]
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
    draws = [random.Random(i).random() for i in range(4000)]
    free, _ = choose_tokens(logits, draws, {"temperature": 1.0, "top_k": 0, "top_p": 1.0})
    assert [free.count(token) / 4000 for token in range(4)] == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    for kept, limits in (({0, 1, 2}, (3, 1.0)), ({0, 1}, (0, 0.8)), ({0}, (0, 0.01))):
        settings = {"temperature": 1.0, "top_k": limits[0], "top_p": limits[1]}
        assert set(choose_tokens(logits, draws, settings)[0]) == kept


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
