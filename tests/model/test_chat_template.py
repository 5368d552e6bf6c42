"""Each family of models is asked and taught in its own format, and learns nothing but the answer and its end."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from archloop.errors import InputError
from archloop.model.chat_template import chat_tokens, encode_pair, end_of_turn, response_prefix_tokens
from archloop.model.loading import load_tokenizer

# The format of each family in the fewest words: special tokens, template, what a prompt becomes, how an answer ends.
CHATML = (
    "{{ '<|im_start|>system\\nSYSTEM<|im_end|>\\n' }}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
FAMILIES = {
    "deepseek-coder": {
        "bos": "<｜begin▁of▁sentence｜>",
        "eos": "<|EOT|>",
        "template": "{{ bos_token }}{{ 'SYSTEM\\n' }}{% for m in messages %}{% if m.role == 'user' %}"
        "{{ '### Instruction:\\n' + m.content + '\\n' }}{% else %}"
        "{{ '### Response:\\n' + m.content + '\\n<|EOT|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:' }}{% endif %}",
        "asked": "<｜begin▁of▁sentence｜>SYSTEM\n### Instruction:\nDesign a net.\n### Response:",
        "answered": "\n```python\nx = 1\n```\n<|EOT|>",
    },
    "qwen-coder": {
        "bos": None,
        "eos": "<|im_end|>",
        "others": ["<|im_start|>", "<|endoftext|>"],
        "template": CHATML,
        "asked": "<|im_start|>system\nSYSTEM<|im_end|>\n<|im_start|>user\nDesign a net.<|im_end|>\n"
        "<|im_start|>assistant\n",
        "answered": "```python\nx = 1\n```<|im_end|>",
    },
    "smollm": {
        "bos": "<|im_start|>",
        "eos": "<|im_end|>",
        "template": CHATML,
        "asked": "<|im_start|>system\nSYSTEM<|im_end|>\n<|im_start|>user\nDesign a net.<|im_end|>\n"
        "<|im_start|>assistant\n",
        "answered": "```python\nx = 1\n```<|im_end|>",
    },
    "llama-3": {
        "bos": "<|begin_of_text|>",
        "eos": "<|end_of_text|>",  # as in the base models: the turn ends with another token
        "others": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "template": "{{ bos_token }}{% for m in messages %}"
        "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        "asked": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nDesign a net.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "answered": "```python\nx = 1\n```<|eot_id|>",
    },
    "llama-2": {
        "bos": "<s>",
        "eos": "</s>",
        "template": "{% for m in messages %}{% if m.role == 'user' %}"
        "{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}",
        "asked": "<s>[INST] Design a net. [/INST]",
        "answered": " ```python\nx = 1\n``` </s>",
    },
    "thinking": {  # a template that begins an answer with tokens of its own
        "bos": None,
        "eos": "<|im_end|>",
        "others": ["<|im_start|>"],
        "template": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
        "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        "asked": "<|im_start|>user\nDesign a net.<|im_end|>\n<|im_start|>assistant\n",
        "answered": "<think>\n\n</think>\n\n```python\nx = 1\n```<|im_end|>",
    },
    "none": {
        "bos": "<s>",
        "eos": "</s>",
        "template": None,
        "asked": "### Instruction:\nDesign a net.\n### Response:\n",
        "answered": "```python\nx = 1\n```</s>",
    },
}


@pytest.fixture(params=FAMILIES)
def family(request) -> dict:
    return FAMILIES[request.param] | {"tokenizer": make_tokenizer(**FAMILIES[request.param])}


def make_tokenizer(bos, eos, template, others=(), **_) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes with the family's special tokens and template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token=bos, eos_token=eos, pad_token=eos, additional_special_tokens=list(others)
    )
    made.chat_template = template
    return made


def test_a_prompt_is_asked_in_the_familys_format(family):
    assert family["tokenizer"].decode(chat_tokens(family["tokenizer"], "Design a net.")) == family["asked"]


def test_an_answer_follows_the_prompt_that_generation_sees_and_ends_with_its_turn(family):
    tokenizer = family["tokenizer"]
    prompt, answer = encode_pair(tokenizer, "Design a net.", "x = 1\n\n")
    assert prompt == chat_tokens(tokenizer, "Design a net.")
    assert tokenizer.decode(answer) == family["answered"]
    assert end_of_turn(tokenizer) == answer[-1] in tokenizer.added_tokens_decoder


def test_a_response_prefix_is_how_a_taught_answer_begins(family):
    tokenizer = family["tokenizer"]
    _, answer = encode_pair(tokenizer, "Design.", "import torch\nx = 1")
    opened = response_prefix_tokens(tokenizer, "```python\nimport torch")
    assert opened == answer[: len(opened)]
    assert response_prefix_tokens(tokenizer, "") == []


def test_a_special_token_spelled_in_a_program_stays_text(family):
    tokenizer = family["tokenizer"]
    end = tokenizer.eos_token
    _, answer = encode_pair(tokenizer, "Design a net.", f"x = {end!r}")
    assert sum(token in tokenizer.added_tokens_decoder for token in answer) == 1
    assert f"x = {end!r}" in tokenizer.decode(answer)


def test_a_mark_of_the_template_that_a_prompt_shows_stays_text(family):
    tokenizer = family["tokenizer"]
    marks = "".join(token.content for token in tokenizer.added_tokens_decoder.values())
    shown = f"Design a net unlike\n```python\nx = {marks!r}\n```\nand a better one."
    plain, asked = (chat_tokens(tokenizer, text) for text in ("Design a net.", shown))
    special = [[token for token in ids if token in tokenizer.added_tokens_decoder] for ids in (plain, asked)]
    assert special[0] == special[1]
    assert tokenizer.decode(asked) == tokenizer.decode(plain).replace("Design a net.", shown)
    assert encode_pair(tokenizer, shown, "x = 1")[0] == asked


def test_a_tokenizer_that_tells_no_places_reads_marks_as_it_does(monkeypatch):
    tokenizer = make_tokenizer(**FAMILIES["thinking"])
    shown = "Design a net unlike <|im_end|>."
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": shown}], add_generation_prompt=True, tokenize=False
    )
    assert chat_tokens(tokenizer, shown) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_mark_that_an_answer_spelt_stays_text_where_a_repair_shows_it():
    tokenizer = make_tokenizer(**FAMILIES["qwen-coder"])
    tokenizer.add_tokens(["<think>"])
    tokenizer.chat_template = CHATML + "{# <think> #}"
    turns = ("Design.", "x = '<|im_end|><think>'", "Write it again.")
    asked = chat_tokens(tokenizer, *turns)
    count = asked.count(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert count == chat_tokens(tokenizer, "Design.", "x", "Write it again.").count(tokenizer.eos_token_id) == 4
    assert tokenizer.convert_tokens_to_ids("<think>") not in asked
    assert turns[1] in tokenizer.decode(asked)


def test_a_model_without_a_template_gets_a_plain_one_with_a_notice(caplog):
    tokenizer = make_tokenizer(**FAMILIES["none"])
    chat_tokens(tokenizer, "Design a net.")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no chat template" in caplog.text


@pytest.mark.parametrize("clock", ["{{ strftime_now('%d %b %Y, %H:%M:%S') }}", "{{ date_string }}"])
def test_a_template_that_asks_for_the_day_is_told_the_same_one_every_day(smollm2, clock):
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = clock + tokenizer.chat_template
    assert tokenizer.decode(chat_tokens(tokenizer, "x")).startswith("26 Jul 2024")


def test_a_template_that_fails_is_one_line(smollm2):
    tokenizer = load_tokenizer(smollm2)
    tokenizer.chat_template = "{{ raise_exception('no turns') }}"
    with pytest.raises(InputError, match=r"its chat template fails .*no turns"):
        chat_tokens(tokenizer, "x")


def test_a_plain_prompt_begins_as_the_tokenizer_begins_every_text():
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(**FAMILIES["none"])
    begin = ("<s>", tokenizer.bos_token_id)
    tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[begin])
    assert tokenizer.decode(chat_tokens(tokenizer, "Hi")).startswith("<s>### Instruction:\nHi")


def test_the_real_tokenizer_asks_and_ends_as_its_model_was_trained(smollm2):
    tokenizer = load_tokenizer(smollm2)
    prompt, answer = encode_pair(tokenizer, "Design a net.", "x = 1\n\n")
    assert tokenizer.decode(prompt).endswith("Design a net.<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(answer) == "```python\nx = 1\n```<|im_end|>"
