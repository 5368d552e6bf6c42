"""Answers in the making, token by token, on a model of two layers: where they end and what the model is asked for."""

from dataclasses import replace

import pytest
import torch
from sections import defaults
from transformers import AutoConfig, AutoModelForCausalLM

import archloop.generation.decode as decode
from archloop.errors import InputError
from archloop.generation.decode import (
    Decoder,
    Sequence,
    SharedPrefix,
    append_token,
    batch_limit,
    new_decoder,
    read_prompts,
    sample,
)
from archloop.random_seeds import uniform
from archloop.settings.sections import Generation

SETTINGS = defaults(Generation, max_new_tokens=30, temperature=0, top_p=1.0, top_k=0, line_retries=0)
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
# Token ids and what they say; every other one says x.
PIECES = {10: "```python\n", 11: "x = 1\n", 12: "y = )\n", 13: "class Net: pass\n", 14: "```", 15: "\n", 16: "`"}


class Pieces:
    """As much of a tokenizer as sampling asks for."""

    eos_token_id, pad_token_id = None, 0

    def decode(self, tokens: int | list[int]) -> str:
        return "".join(PIECES.get(token, "x") for token in (tokens if isinstance(tokens, list) else [tokens]))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SHAPE)).eval()


def decoder(model, tokenizer, **changes) -> Decoder:
    return new_decoder(model, tokenizer, replace(SETTINGS, **changes))


@pytest.fixture(autouse=True)
def _no_end_of_turn(monkeypatch):
    monkeypatch.setattr(decode, "end_of_turn", lambda tokenizer: None)


@pytest.fixture
def scripted(model, monkeypatch):
    """A function that samples these tokens, a list for each sequence, and returns the sequences by how they ended."""

    def run(*tokens: list[int], tokenizer=None, size=4, prefixes=("",) * 9, **changed):
        made = [Sequence([1, 2, 3 + row], row, prefix) for row, (_, prefix) in enumerate(zip(tokens, prefixes))]
        rests = [list(each) for each in tokens]

        def choose(logits, draws, settings, rounding=0.0):
            going = [row for row, each in enumerate(made) if each.finish_reason is None][: len(draws)]
            assert draws == [uniform(row, "draw", made[row].sampled) for row in going]
            return [rests[row].pop(0) for row in going], [True] * len(draws)

        monkeypatch.setattr(decode, "choose_tokens", choose)
        ended = list(sample(decoder(model, tokenizer or Pieces(), **changed), made, size))
        assert sorted(map(id, ended)) == sorted(map(id, made)) and rests == [[] for _ in tokens]
        return made

    return run


def how(each: Sequence) -> tuple:
    return each.finish_reason, each.new, each.sampled


@pytest.mark.parametrize("place", ["configuration", "list", "tokenizer", "turn"])
def test_an_answer_ends_at_whatever_token_ends_one_and_without_it(model, scripted, monkeypatch, place):
    tokenizer = Pieces()
    if place == "tokenizer":
        tokenizer.eos_token_id = 7
    elif place == "turn":
        monkeypatch.setattr(decode, "end_of_turn", lambda tokenizer: 7)
    else:
        monkeypatch.setattr(model.generation_config, "eos_token_id", 7 if place == "configuration" else [8, 7])
    one, two = scripted([5, 7], [5, 5, 5], tokenizer=tokenizer, max_new_tokens=3)
    assert how(one) == ("end", [5], 2) and how(two) == ("length", [5, 5, 5], 3)


def test_an_answer_ends_at_the_fence_that_closes_its_program_even_at_its_last_token(scripted):
    program = [10, 13, 14]
    one, two, three = scripted(program, program[:2] + [5], [10, 11, 14], max_new_tokens=3)
    assert [how(one), how(two)] == [("fence", program, 3), ("length", [10, 13, 5], 3)]
    assert three.finish_reason == "length"  # a block without a network closes no program


def test_the_response_prefix_is_text_of_the_answer(scripted):
    one, two = scripted([13, 14], [13, 14], prefixes=("```python\n", ""), max_new_tokens=2)
    assert (one.finish_reason, two.finish_reason) == ("fence", "length")


def test_a_line_that_cannot_go_on_is_dropped_with_the_token_before_it_until_its_retries_are_over(scripted):
    (each,) = scripted([10, 11, 12, 11, 12, 11, 12], line_retries=2)
    assert how(each) == ("line", [10, 11, 12], 7) and each.dropped == 2


def test_a_line_that_came_right_has_its_retries_anew(scripted):
    wrong = [11, 12]
    (each,) = scripted([10, *wrong, *wrong, 11, 11, 12, *wrong, 11, 13, 14], line_retries=2)
    assert how(each) == ("fence", [10, 11, 11, 13, 14], 13)


def test_a_token_that_ends_the_line_before_otherwise_does_not_count_as_another_line(scripted):
    """After a drop the line begins at the token before it, and that one alone gives no retries back."""
    (each,) = scripted([10, 11, 12, 11, 12], line_retries=1)
    assert how(each) == ("line", [10, 11, 12], 5)


def test_the_cache_is_void_from_the_token_before_a_dropped_line_on(model):
    each, tokens = Sequence([1, 2, 3], 0), [10, 11, 11, 12]
    assert [append_token(each, token, decoder(model, Pieces(), line_retries=1)) for token in tokens] == [0, 0, 0, 2]
    assert each.new == [10, 11]


def test_without_retries_a_wrong_line_stays(scripted):
    (each,) = scripted([10, 12, 11], max_new_tokens=3)
    assert how(each) == ("length", [10, 12, 11], 3)


def test_a_program_that_is_closed_with_a_wrong_line_in_it_is_no_finished_one(scripted):
    (each,) = scripted([10, 13, 16, 16, 5], line_retries=1, max_new_tokens=5)
    assert each.finish_reason == "length"


def test_the_last_token_is_no_place_to_drop_a_line(scripted):
    """Nothing would come in its place."""
    (each,) = scripted([10, 12], line_retries=3, max_new_tokens=2)
    assert how(each) == ("length", [10, 12], 2)


def test_a_dropped_line_leaves_no_trace_in_what_follows(model, monkeypatch):
    """With the most likely token at each place, a line that is dropped comes again, and all that follows it."""
    monkeypatch.setattr(Pieces, "decode", lambda self, tokens: f"{tokens}" if isinstance(tokens, list) else "x\n")
    monkeypatch.setattr(decode, "is_finished", lambda text: False)
    prompts = [[5, 6, 7], [5, 6, 9, 8, 3, 2]]

    def run(wrong) -> list[Sequence]:
        monkeypatch.setattr(decode, "wrong_line", wrong)
        made = [Sequence(list(prompt), 0) for prompt in prompts]
        list(sample(decoder(model, Pieces(), line_retries=1), made, 2))
        return made

    whole, seen = run(lambda text: False), set()
    dropped = run(lambda text: text.count(",") in (0, 3, 4, 9) and text not in seen and not seen.add(text))
    for one, two in zip(whole, dropped):
        assert (two.sampled, two.finish_reason) == (30, "length") and 10 < len(two.new) < 30 == len(one.new)
        assert two.new == one.new[: len(two.new)] and len(set(one.new)) > 3


def test_what_prompts_begin_with_leaves_each_a_token(model):
    assert SharedPrefix(model, [[1, 2, 3, 4], [1, 2, 5, 4, 6]]).length == 2
    assert SharedPrefix(model, [[1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]).length == 2
    assert SharedPrefix(model, [[1, 2, 3]]).length == 2
    assert SharedPrefix(model, [[1], [1, 2]]).length == SharedPrefix(model, [[1, 2], [2, 2]]).length == 0
    assert SharedPrefix(model, [[1, 2, 3], [1, 2, 4]]).cache.get_seq_length() == 2


@pytest.fixture
def passes(model, monkeypatch) -> list[dict]:
    """What the model is asked for, pass by pass."""
    real, seen = type(model).forward, []

    def forward(self, **given):
        seen.append({name: each.tolist() if isinstance(each, torch.Tensor) else each for name, each in given.items()})
        return real(self, **given)

    monkeypatch.setattr(type(model), "forward", forward)
    return seen


def test_prompts_are_padded_on_the_left_behind_what_they_share(model, passes):
    prompts = [[1, 2, 3, 4], [1, 2, 5]]
    prefix = SharedPrefix(model, prompts)
    with torch.inference_mode():
        cache, mask, logits = read_prompts(model, prompts, prefix, 0)
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 1]] and logits.shape == (2, 64)
    assert (passes[0]["input_ids"], passes[0]["logits_to_keep"]) == ([[1, 2]], 1)
    assert passes[1]["input_ids"] == [[3, 4], [0, 5]] and passes[1]["position_ids"] == [[2, 3], [1, 2]]
    assert passes[1]["attention_mask"] == mask.tolist() and passes[1]["logits_to_keep"] == 1
    assert cache.get_seq_length() == 4 and prefix.cache.get_seq_length() == 2


def test_each_pass_has_the_last_token_of_those_that_go_on_at_its_place(model, passes, scripted, monkeypatch):
    monkeypatch.setattr(model.generation_config, "eos_token_id", 7)
    scripted([5, 6, 9], [7], [4, 7], max_new_tokens=3)
    seen = [[each.get(name) for name in ("input_ids", "position_ids", "attention_mask")] for each in passes]
    assert seen == [
        [[[1, 2]], None, None],
        [[[3], [4], [5]], [[2], [2], [2]], [[1] * 3] * 3],
        [[[5], [4]], [[3], [3]], [[1] * 4] * 2],
        [[[6]], [[4]], [[1] * 5]],
    ]


def test_a_draw_that_rounding_could_tip_is_settled_by_the_whole_text_of_the_sequence(model, passes, monkeypatch):
    asked, real = [], decode.choose_tokens

    def choose(logits, draws, settings, *rounding):
        asked.append((len(draws), *rounding))
        chosen, _ = real(logits, draws, settings, *rounding)
        return chosen, [row != 1 for row in range(len(draws))]

    monkeypatch.setattr(decode, "choose_tokens", choose)
    made = [Sequence([1, 2, 3], 0), Sequence([1, 2, 4], 1)]
    list(sample(decoder(model, Pieces(), max_new_tokens=2), made, 2))
    assert asked == [(2, decode.ROUNDING), (1,), (2, decode.ROUNDING), (1,)]
    alone = [each for each in passes if not each["use_cache"]]
    assert [each["input_ids"] for each in alone] == [[[1, 2, 4]], [[1, 2, 4, made[1].new[0]]]]
    assert {each["logits_to_keep"] for each in alone} == {1}


def test_numbers_of_half_the_size_are_settled_by_the_batch(model, monkeypatch):
    asked, real = [], decode.choose_tokens
    monkeypatch.setattr(decode, "choose_tokens", lambda *given: asked.append(given[3:]) or real(*given))
    try:
        list(sample(decoder(model.bfloat16(), Pieces(), max_new_tokens=1), [Sequence([1, 2], 0)], 1))
    finally:
        model.float()
    assert asked == [(0.0,)]


def test_where_memory_does_not_suffice_half_as_many_go_on_from_what_they_have(model, monkeypatch):
    real, widths, emptied = type(model).forward, [], []

    def forward(self, **given):
        width, tokens = given["input_ids"].shape
        widths.extend([width] if given["use_cache"] else [])  # without: a draw that is settled alone
        if tokens == 1 and width > 2 and len(widths) > 4:
            raise torch.OutOfMemoryError
        return real(self, **given)

    def run(size: int) -> list[Sequence]:
        made = [Sequence([1, 2, 3 + row], row) for row in range(5)]
        list(sample(decoder(model, Pieces(), max_new_tokens=6, temperature=1.0), made, size))
        return made

    whole = [each.new for each in run(5)]
    monkeypatch.setattr(type(model), "forward", forward)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(len(widths)))
    made = run(5)
    assert [each.new for each in made] == whole and {each.sampled for each in made} == {6}
    assert len(emptied) == 1 and widths[: emptied[0]] == [1, 5, 5, 5, 5] and set(widths[emptied[0] :]) == {2, 1}


@pytest.mark.parametrize("room", [1, 0])
def test_two_go_on_one_after_the_other_and_one_for_whom_there_is_no_room_ends_the_work(model, monkeypatch, room):
    real = type(model).forward

    def forward(self, **given):
        if given["input_ids"].shape[0] > room:
            raise torch.OutOfMemoryError
        return real(self, **given)

    monkeypatch.setattr(type(model), "forward", forward)
    made = [Sequence([1, 2, 3 + row], row) for row in range(2)]
    running = sample(decoder(model, Pieces(), max_new_tokens=3), made, 2)
    if room:
        assert len(list(running)) == 2 and [len(each.new) for each in made] == [3, 3]
    else:
        with pytest.raises(InputError, match="does not suffice for one sequence; lower generation"):
            list(running)


def test_a_batch_is_as_large_as_the_settings_say_where_the_memory_holds_it():
    config = AutoConfig.for_model("llama", **SHAPE | {"max_position_embeddings": 10**7})
    settings = replace(SETTINGS, max_new_tokens=10**6, batch_size=3)
    assert batch_limit(config, torch.float32, 9, settings, 10**6) == 3
    with pytest.raises(InputError, match=r"execution\.cache_mb: 1 MB hold no sequence; one of 1000064 tokens"):
        batch_limit(config, torch.float32, 9, settings, 1)


def test_a_model_that_reads_images_too_has_the_context_of_its_text():
    config = AutoConfig.for_model("gemma3", text_config=SHAPE | {"head_dim": 8, "num_key_value_heads": 4})
    assert batch_limit(config, torch.float32, 98, replace(SETTINGS, batch_size=3), 1000) == 3
    with pytest.raises(InputError, match="30 after a prompt of 99 tokens are more than the model's context of 128"):
        batch_limit(config, torch.float32, 99, replace(SETTINGS, batch_size=3), 1000)


def test_a_wrong_first_line_is_dropped_whole(scripted):
    (each,) = scripted([12, 12, 13, 14], prefixes=("```python\n",), line_retries=2)
    assert how(each) == ("fence", [13, 14], 4)
