"""Sampling: each candidate by its own seed, whatever is sampled beside it, and the program out of the answer."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from sections import LOADING, defaults
from transformers import LlamaConfig

import archloop.generation.generate as module
from archloop.errors import InputError
from archloop.files import read_json, write_jsonl
from archloop.generation import decode
from archloop.generation.decode import (
    Decoder,
    Sequence,
    SharedPrefix,
    append_token,
    batch_limit,
    hide_last,
    new_decoder,
    read_prompts,
    sample,
)
from archloop.generation.generate import RESPONSE_PREFIXES, GenerationJob, generate, next_sequence
from archloop.generation.prompts import prompts_of_shard
from archloop.model.adapters import attach_adapter, save_adapter
from archloop.model.chat_template import chat_tokens
from archloop.model.loading import load_model, load_tokenizer
from archloop.settings.sections import Finetuning, Generation

SETTINGS = Generation(
    batch_size=4,
    max_new_tokens=12,
    temperature=1.0,
    top_p=0.95,
    top_k=0,
    response_prefix="none",
    line_retries=0,
    repairs=0,
)


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


def job(model, folder, adapter=None, code="", cache_mb=1000, **changes) -> GenerationJob:
    settings = replace(SETTINGS, **changes)
    return GenerationJob(model, adapter, settings, LOADING, folder / "answers.jsonl", code, cache_mb)


def run(model, folder, rows, **changes):
    return generate(rows, job(model, folder, **changes), "cpu")


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
    assert record.kept_from_earlier_runs == 0
    real, asked = sample, []

    def cut(*arguments):
        for answer in real(*arguments):
            if len(asked) == finished:
                raise KeyboardInterrupt
            asked.append(1)
            yield answer

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "sample", cut)
        run(tiny_model, tmp_path / "cut", prompts(7))
    with open(tmp_path / "cut" / "answers.jsonl", "a") as torn:
        torn.write('{"position": 0, "answer": {')
    asked.clear()
    monkeypatch.setattr(module, "sample", lambda *given: asked.extend(given[1]) or real(*given))
    resumed, record = run(tiny_model, tmp_path / "cut", prompts(7))
    assert resumed == whole
    assert len(asked) == 7 - finished
    assert record.kept_from_earlier_runs == finished
    assert record.new_tokens == sum(row["new_tokens"] for row in whole)


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"max_new_tokens": 5}], ids=str)
def test_answers_of_other_settings_are_not_kept(tiny_model, tmp_path, change):
    run(tiny_model, tmp_path, prompts(3))
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4
    other, record = run(tiny_model, tmp_path, prompts(3), **change)
    assert record.kept_from_earlier_runs == 0
    assert other == run(tiny_model, tmp_path / "fresh", prompts(3), **change)[0]


def test_another_batch_size_keeps_what_is_finished(tiny_model, tmp_path):
    run(tiny_model, tmp_path, prompts(3))
    assert run(tiny_model, tmp_path, prompts(3), batch_size=1)[1].kept_from_earlier_runs == 3


def test_answers_of_another_prompt_seed_or_code_are_not_kept(tiny_model, tmp_path):
    run(tiny_model, tmp_path, prompts(3))
    rows = prompts(3)
    rows[1]["seed"] = 99
    assert run(tiny_model, tmp_path, rows)[1].kept_from_earlier_runs == 0
    assert run(tiny_model, tmp_path, rows, code="another")[1].kept_from_earlier_runs == 0


def decoder(model, tokenizer, **changes) -> Decoder:
    return new_decoder(model, tokenizer, replace(SETTINGS, **changes))


def answers(model, tokenizer, size, count=7, **changes):
    """The token ids of that many answers, by their prompts' order."""
    made = [Sequence(chat_tokens(tokenizer, row["prompt"]), row["seed"]) for row in prompts(count)]
    assert len(list(sample(decoder(model, tokenizer, **changes), made, size))) == count
    return [each.new for each in made]


def test_one_model_load_serves_a_shard_and_what_all_prompts_begin_with_is_read_once(tiny_model, tmp_path, monkeypatch):
    loads, real, read = [], load_model, []
    monkeypatch.setattr(module, "load_model", lambda *given: loads.append(1) or real(*given))
    monkeypatch.setattr(decode, "read_prompts", lambda *given: read.append(given[2]) or read_prompts(*given))
    run(tiny_model, tmp_path, prompts(7), batch_size=3)
    assert len(loads) == 1
    assert len(read) == 3 and len(set(map(id, read))) == 1


def test_a_sequence_that_ends_leaves_the_batch(model, tokenizer, monkeypatch):
    real, widths = type(model).forward, []

    def watched(self, *arguments, input_ids, **options):
        widths.append(len(input_ids)) if input_ids.shape[1] == 1 else None
        return real(self, *arguments, input_ids=input_ids, **options)

    monkeypatch.setattr(type(model), "forward", watched)
    ids = chat_tokens(tokenizer, "Design a net.")
    made = [Sequence(ids, 0), Sequence(ids, 1, sampled=8), Sequence(ids, 2, sampled=10)]
    list(sample(decoder(model, tokenizer), made, 3))
    # The prompts' last token, then a token for each that still runs: all answers end when 12 are drawn.
    assert widths == [3, 3, 2, 2, *[1] * 8]


def reading(tokenizer, **changes) -> Decoder:
    """A decoder for answers that are given token by token; no token ends them."""
    return Decoder(torch.nn.Module(), tokenizer, set(), replace(SETTINGS, **changes))


NET = "class Net:\n    pass\n"


@pytest.mark.parametrize(
    ("text", "stopped"),
    [
        (f"```python\n{NET}```", "fence"),
        (f"```bash\npip install torch\n```\nNow:\n\n  ```python\n  {NET}  ```", "fence"),
        (f"<think>\n```python\n{NET}```\n</think>\n```python\n{NET}```", "fence"),
        (f"Like `x`:\n```python\n{NET}", None),
        ("```python\nx = 1\n```", None),
    ],
)
def test_an_answer_ends_at_the_fence_that_closes_its_program(tokenizer, text, stopped):
    each, reader = Sequence([1], 0), reading(tokenizer, max_new_tokens=200)
    for token in tokenizer(text)["input_ids"]:
        assert each.finish_reason is None
        append_token(each, token, reader)
    assert each.finish_reason == stopped


def test_where_the_template_opens_the_thinking_a_draft_ends_no_answer(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = tokenizer.chat_template + "{% if add_generation_prompt %}<think>\n{% endif %}"
    each, reader = next_sequence(tokenizer, prompts(1)[0], [], ""), reading(tokenizer, max_new_tokens=200)
    assert each.response_prefix == "<think>\n"
    for token in tokenizer(f"A draft:\n```python\n{NET}```\n")["input_ids"]:
        append_token(each, token, reader)
    assert each.finish_reason is None


@pytest.mark.parametrize("fits", [1, 3])
def test_out_of_memory_halves_the_batch_and_loses_nothing(model, tokenizer, monkeypatch, fits):
    whole = answers(model, tokenizer, 7)
    real, widths = type(model).forward, []

    def small(self, *arguments, input_ids, **options):
        widths.append(len(input_ids))
        if len(input_ids) > fits and len(widths) % 5 == 0:
            raise torch.OutOfMemoryError
        return real(self, *arguments, input_ids=input_ids, **options)

    monkeypatch.setattr(type(model), "forward", small)
    assert answers(model, tokenizer, 7) == whole
    assert max(widths) == 7 and sorted(set(widths)) != [7]


def test_a_gpu_that_is_too_small_for_one_sequence_is_named(model, tokenizer, monkeypatch):
    def none(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(model), "forward", none)
    with pytest.raises(InputError, match="does not suffice for one sequence"):
        answers(model, tokenizer, 4)


def test_the_cache_takes_no_more_memory_than_the_setting_says(model, tokenizer, monkeypatch):
    longest = max(len(chat_tokens(tokenizer, row["prompt"])) for row in prompts(7))
    changes = {"max_new_tokens": 300, "batch_size": 7, "top_k": 20}
    limit = batch_limit(model.config, model.dtype, longest, replace(SETTINGS, **changes), 1)
    largest, real = [], decode.read_prompts

    def watched(*arguments):
        cache, mask, logits = real(*arguments)
        watched.cache = cache
        return cache, mask, logits

    monkeypatch.setattr(decode, "read_prompts", watched)
    made = [Sequence(chat_tokens(tokenizer, row["prompt"]), row["seed"]) for row in prompts(7)]
    for _ in sample(decoder(model, tokenizer, **changes), made, limit):
        largest.append(sum(room.nbytes for layer in watched.cache.layers for room in layer.room))
    assert 1 <= limit < 7
    assert 0.5 * 2**20 < max(largest) <= 2**20
    with pytest.raises(InputError, match=r"execution\.cache_mb: 1 MB hold no sequence"):
        batch_limit(model.config, model.dtype, longest, replace(SETTINGS, **changes | {"max_new_tokens": 1900}), 1)


def test_what_fits_exactly_fits():
    """8 bytes a number, a token of 2 layers, 2 heads and a head of 4: 256 bytes, 128 tokens 32,768."""
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8, "max_position_embeddings": 128}
    config = LlamaConfig(**shape)

    def limit(longest: int, cache_mb: float) -> int:
        return batch_limit(config, torch.float64, longest, replace(SETTINGS, max_new_tokens=100), cache_mb)

    assert [limit(28, cache_mb) for cache_mb in (0.03125, 0.0625, 1)] == [1, 2, 4]
    with pytest.raises(InputError, match=r"100 after a prompt of 29 tokens are more than the model's context of 128"):
        limit(29, 1)
    with pytest.raises(InputError, match="one of 128 tokens takes 0 MB"):
        limit(28, 0.0312)


def test_a_draw_that_rounding_could_tip_is_settled_by_the_sequence_alone(model, tokenizer, monkeypatch):
    whole, real = answers(model, tokenizer, 7), decode.choose_tokens

    def tipped(logits, draws, settings, *rounding):
        chosen, certain = real(logits, draws, settings, *rounding)
        return ([*chosen[:-1], 5], [*certain[:-1], False]) if rounding else (chosen, certain)

    monkeypatch.setattr(decode, "choose_tokens", tipped)
    assert answers(model, tokenizer, 7) == whole


def test_the_last_tokens_that_a_row_sees_are_hidden():
    mask = torch.tensor([0, 1, 1, 0, 1, 1])
    hide_last(mask, 3)
    assert mask.tolist() == [0, 1, 0, 0, 0, 0]


def test_a_dropped_line_leaves_no_trace_in_what_follows(smollm2, monkeypatch):
    """With the most likely token at each place, a line that is dropped comes again, and all that follows it."""
    model, tokenizer = load_model(smollm2, LOADING, "cpu"), load_tokenizer(smollm2)
    texts = ["Write a Python function that adds two numbers.", "Write a short Python program."]
    greedy = decoder(model, tokenizer, temperature=0, max_new_tokens=24, line_retries=1)

    def run():
        made = [Sequence(chat_tokens(tokenizer, text), 0) for text in texts]
        list(sample(greedy, made, 2))
        return made

    monkeypatch.setattr(decode, "wrong_line", lambda text: False)
    whole = run()
    seen = set()
    monkeypatch.setattr(decode, "wrong_line", lambda text: len(seen) < 3 and text not in seen and not seen.add(text))
    dropped = run()
    assert sum(each.sampled for each in dropped) == 48
    for one, two in zip(whole, dropped):
        assert two.new == one.new[: len(two.new)]
    assert min(len(each.new) for each in dropped) > 5
    assert sum(len(each.new) for each in dropped) < sum(len(each.new) for each in whole)


def test_a_line_that_stays_wrong_ends_the_answer_and_its_tokens_are_counted(tokenizer):
    each, reader = Sequence([1], 0), reading(tokenizer, line_retries=2, max_new_tokens=100)
    first, wrong = (tokenizer(text)["input_ids"] for text in ("```python\nx = 1\n", "y = )\n"))
    for token in first:
        append_token(each, token, reader)
    kept = list(each.new)
    for attempt in range(3):
        for token in (first[-1:] if attempt else []) + wrong:
            append_token(each, token, reader)
        if attempt < 2:
            assert each.new == kept[:-1]
    assert each.finish_reason == "line"
    assert each.sampled == len(first) + 3 * len(wrong) + 2


@pytest.mark.parametrize("response_prefix", ["fence", "imports", "class"])
def test_answers_begin_with_the_response_prefix_and_its_tokens_are_not_sampled(tiny_model, tmp_path, response_prefix):
    made, record = run(tiny_model, tmp_path, prompts(2), response_prefix=response_prefix)
    assert all(row["raw"].startswith(RESPONSE_PREFIXES[response_prefix]) for row in made)
    assert record.new_tokens == 24
    assert made[0]["prompt_tokens"] > run(tiny_model, tmp_path / "none", prompts(2))[0][0]["prompt_tokens"]


def test_a_refused_program_is_asked_for_again_with_the_reason_and_all_tokens_count(tiny_model, tmp_path, monkeypatch):
    asked, real = [], sample
    monkeypatch.setattr(module, "sample", lambda *given: asked.append(given[1]) or real(*given))
    made, record = run(tiny_model, tmp_path, prompts(3), repairs=2)
    assert [len(group) for group in asked] == [3, 3, 3]
    tokenizer = load_tokenizer(tiny_model)
    text = tokenizer.decode(asked[1][0].prompt)
    assert "This program is refused: the answer holds no program." in text
    assert {row["attempts"] for row in made} == {3}
    assert record.new_tokens == sum(row["new_tokens"] for row in made) == 3 * 3 * 12
    assert made == run(tiny_model, tmp_path / "other", prompts(3), repairs=2, batch_size=2)[0]


def test_a_repair_that_has_grown_too_long_is_not_asked_for(tiny_model, tmp_path, monkeypatch):
    """A prompt and 800 tokens fit the cache, a prompt with an answer of 450 tokens in it and 800 more do not."""

    def answered(decoder, sequences, size):
        for each in sequences:
            each.new, each.sampled, each.finish_reason = [20] * 450, 450, "end"
            yield each

    monkeypatch.setattr(module, "sample", answered)
    made, record = run(tiny_model, tmp_path, prompts(2), max_new_tokens=800, repairs=1, cache_mb=1)
    assert [row["attempts"] for row in made] == [1, 1] and record.new_tokens == 900


def test_a_program_that_passes_is_not_asked_for_again(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "check_program", lambda program: None)
    made, _ = run(tiny_model, tmp_path, prompts(3), repairs=2)
    assert {row["attempts"] for row in made} == {1}


def test_candidates_keep_the_order_of_their_prompts_and_the_facts_of_their_making(tiny_model, tmp_path):
    made, record = run(tiny_model, tmp_path, prompts(3))
    assert [row["id"] for row in made] == ["c0", "c1", "c2"]
    assert record.new_tokens == sum(row["new_tokens"] for row in made)
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
        prefix = SharedPrefix(model, tokens)
        _, _, logits = read_prompts(model, tokens, prefix, tokenizer.pad_token_id)
        alone = torch.cat([model(input_ids=torch.tensor([ids])).logits[:, -1] for ids in tokens])
    assert prefix.length > 5
    assert torch.allclose(logits, alone, atol=1e-4)


def test_greedy_sampling_is_that_of_transformers(model, tokenizer):
    ids = chat_tokens(tokenizer, "Design a net.")
    ours = next(sample(decoder(model, tokenizer, temperature=0), [Sequence(ids, 0)], 1)).new
    theirs = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12)[0, len(ids) :].tolist()
    assert ours == theirs


def test_answers_are_kept_until_all_is_written(tiny_model, tmp_path, root):
    write_jsonl(tmp_path / "prompts.jsonl", prompts(2))
    kept = tmp_path / "state" / "answers.jsonl"
    script = [sys.executable, root / "scripts" / "generate.py", "--shards", "1"]
    script += ["--prompts", tmp_path / "prompts.jsonl", "--shard", "0", "--model", tiny_model / "manifest.json"]
    script += ["--max-new-tokens", "32", "--output", tmp_path / "made.jsonl", "--state", kept.parent, "--run-record"]
    failed = subprocess.run([*script, "/proc/nowhere/run.json"], capture_output=True, text=True)
    assert (failed.returncode, kept.is_file()) == (1, True)
    assert "Traceback" not in failed.stderr
    subprocess.run([*script, tmp_path / "run.json"], check=True, capture_output=True)
    assert read_json(tmp_path / "run.json")["kept_from_earlier_runs"] == 2
    assert not kept.parent.exists()


def test_answers_beyond_the_models_context_are_refused(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"generation\.max_new_tokens: 8192 after a prompt of .* context of 2048"):
        run(tiny_model, tmp_path, prompts(1), max_new_tokens=8192)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_logits_that_are_no_numbers_are_named_with_the_adapter_that_gave_them(tiny_model, tmp_path, temperature):
    shape = {"lora_rank": 2, "lora_alpha": 2, "lora_dropout": 0.0, "targets": ["q_proj", "down_proj"], "layers": None}
    wrapped = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, defaults(Finetuning, **shape))
    for weight in wrapped.parameters():
        if weight.requires_grad:
            torch.nn.init.constant_(weight, 1e30)
    save_adapter(wrapped, tmp_path, tiny_model, {"base": {"files": {}}})
    adapter = tmp_path / "adapter_model.safetensors"
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: the model's logits are no finite numbers"):
        run(tiny_model, tmp_path, prompts(2), adapter=adapter, temperature=temperature)


def test_draw_number_n_is_a_function_of_the_seed_and_of_n():
    assert Sequence([1], 1).draw() == Sequence([2, 3], 1).draw() == 0.7882033818811036
    assert Sequence([1], 1, sampled=1).draw() != Sequence([1], 1).draw() != Sequence([1], 2).draw()


def test_the_prompts_of_a_shard_take_turns_and_say_whose_they_are(tmp_path):
    write_jsonl(tmp_path / "prompts.jsonl", prompts(7))
    shards = [prompts_of_shard(tmp_path / "prompts.jsonl", shard, 3) for shard in range(3)]
    assert [[row["index"] for row in rows] for rows in shards] == [[0, 3, 6], [1, 4], [2, 5]]
    assert {row["shard"] for row in shards[2]} == {2}
    assert shards[1][0] == prompts(7)[1] | {"shard": 1}
