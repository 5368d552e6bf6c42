"""Prompts and answers in a model's own format: its chat template decides where a turn begins and
ends.

What a model is asked with and what it is trained on come from the same template, so that an answer
continues exactly the tokens that a prompt ends with, and stops with the token that ends a turn.
"""

import datetime
from collections.abc import Sequence
from typing import Any, TypeAlias

from archloop.errors import InputError, kind_and_line
from archloop.logs import get_logger
from archloop.model.types import Tokenizer

# For a model that brings no template of its own.
PLAIN = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}### Instruction:\n{{ message.content }}\n"
    "{% else %}### Response:\n{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)

# Some templates write today's date into the prompt: for them it is always the same day, so that
# programs do not depend on the clock. Llama's own takes this one where it can ask no clock.
TODAY = datetime.datetime(2024, 7, 26)

# The tokenizers library's own: a token that is found in text as a whole.
AddedToken: TypeAlias = Any

logger = get_logger("chat")


def _clock() -> str:
    """Return a macro for templates that ask for the time by strftime_now: it writes TODAY."""
    replaced = "format"
    for letter in "aAbBdHIjmMpSyY":
        code = f"%{letter}"
        text = TODAY.strftime(code)
        replaced += f"|replace('{code}', '{text}')"
    return f"{{%- macro strftime_now(format) -%}}{{{{ {replaced} }}}}{{%- endmacro -%}}"


CLOCK = _clock()


def ensure_template(tokenizer: Tokenizer) -> None:
    """Give a tokenizer without a chat template the plain one, with a notice."""
    if tokenizer.chat_template is None:
        logger.warning(
            "the tokenizer has no chat template; prompts go in as '### Instruction' and"
            " '### Response'"
        )
        # Conversations are read without the tokens that a tokenizer adds by itself, so the template
        # has to write the first one.
        first = tokenizer("x")["input_ids"][0]
        begin = tokenizer.bos_token if first == tokenizer.bos_token_id else ""
        tokenizer.chat_template = begin + PLAIN


def chat_tokens(tokenizer: Tokenizer, *turns: str) -> list[int]:
    """Return the token ids of a user's prompt, ready for the answer, by the tokenizer's chat
    template.

    turns: the prompt alone, or a conversation: the user's, the model's, ..., the user's. A mark of
    the template that a turn spells, in a program that it shows, stays text. A tokenizer without a
    template gets a plain one, with a notice.
    """
    return _turn_ids(tokenizer, _turns(tokenizer, *turns), turns)


def response_prefix_tokens(tokenizer: Tokenizer, response_prefix: str) -> list[int]:
    """Return what follows the ids of a prompt where the answer is made to begin with a text.

    The list is empty for no text.
    """
    if not response_prefix:
        return []
    _, lead, _ = _parts(tokenizer, "x", response_prefix)
    return _answer_ids(tokenizer, lead, response_prefix)


def encode_pair(tokenizer: Tokenizer, prompt: str, program: str) -> tuple[list[int], list[int]]:
    """Return (prompt ids, answer ids) of a program in its fence.

    The answer ends with the token that ends a turn.

    The prompt's ids are those of `chat_tokens`, so training sees what generation will see. What the
    template puts between them and the program belongs to the answer: the model has to write it.
    What follows the end of the turn does not: nobody ever asks for it. Text in the program that
    spells a special token stays text.
    """
    answer = f"```python\n{program.strip()}\n```"
    before, lead, tail = _parts(tokenizer, prompt, answer)
    prompt_ids = _turn_ids(tokenizer, before, [prompt])
    end_ids = _until_end(tokenizer, _ids(tokenizer, tail))
    return prompt_ids, _answer_ids(tokenizer, lead, answer) + end_ids


def end_of_turn(tokenizer: Tokenizer) -> int:
    """Return the token that ends an answer in the tokenizer's chat format: where generation may
    stop."""
    _, answer = encode_pair(tokenizer, "x", "x")
    return answer[-1]


def _turns(tokenizer: Tokenizer, *turns: str) -> str:
    ensure_template(tokenizer)
    messages = []
    for number, turn in enumerate(turns):
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": turn})

    try:
        template = tokenizer.get_chat_template()
        if "strftime_now" in template:
            template = CLOCK + template
        text: str = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=messages[-1]["role"] == "user",
            chat_template=template,
            date_string=f"{TODAY:%d %b %Y}",
        )
    except Exception as error:  # a template is a program of its own
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template fails ({kind_and_line(error)})"
        ) from None
    return text


def _parts(tokenizer: Tokenizer, prompt: str, answer: str) -> tuple[str, str, str]:
    """Return (prompt, what stands between prompt and answer, what follows the answer) as the
    template writes them."""
    before = _turns(tokenizer, prompt)
    whole = _turns(tokenizer, prompt, answer)
    # The last place, for a prompt may show the very program that answers it.
    start = whole.rfind(answer)
    end = start + len(answer)
    if whole.startswith(before) and start >= len(before):
        return before, whole[len(before) : start], whole[end:]
    # The template asks otherwise than it tells: what it asks with counts, for that is what
    # generation sees.
    return before, "", ""


def _turn_ids(tokenizer: Tokenizer, text: str, turns: Sequence[str]) -> list[int]:
    """Return the ids of a conversation as the template writes it, what its turns spell being
    text."""
    marks = _marks_in(tokenizer, turns)
    if not marks or not tokenizer.is_fast:
        return _ids(tokenizer, text)

    spans = _spans(text, turns)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = []
    offsets = encoded["offset_mapping"]
    for token, (start, end) in zip(encoded["input_ids"], offsets):
        within_turn = any(first <= start and end <= last for first, last in spans)
        if token in marks and within_turn:
            mark = text[start:end]
            ids += _spelt(tokenizer, mark, marks[token].special)
        else:
            ids.append(token)
    return ids


def _marks_in(tokenizer: Tokenizer, turns: Sequence[str]) -> dict[int, AddedToken]:
    """Return token -> AddedToken for the marks of the template, and special tokens, that a turn
    spells."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    marks = {}
    for token, added in tokenizer.added_tokens_decoder.items():
        content = added.content
        is_mark = added.special or content in template
        if is_mark and any(content in turn for turn in turns):
            marks[token] = added
    return marks


def _spans(text: str, turns: Sequence[str]) -> list[tuple[int, int]]:
    """Return (start, end) of each turn in a conversation; a template may strip a turn."""
    spans, position = [], 0
    for turn in turns:
        for form in (turn, turn.strip()):
            start = text.find(form, position)
            if start >= 0:
                position = start + len(form)
                spans.append((start, position))
                break
    return spans


def _spelt(tokenizer: Tokenizer, mark: str, special: bool) -> list[int]:
    """Return the ids of a mark as text.

    Added tokens that are not special are found in all text: it comes in two.
    """
    if special:
        return _ids(tokenizer, mark, plain=True)
    first, rest = mark[0], mark[1:]
    return _ids(tokenizer, first, plain=True) + _ids(tokenizer, rest, plain=True)


def _answer_ids(tokenizer: Tokenizer, lead: str, answer: str) -> list[int]:
    """Return the ids of an answer and of what the template puts before it."""
    if lead.strip():
        return _ids(tokenizer, lead) + _ids(tokenizer, answer, plain=True)
    return _ids(tokenizer, lead + answer, plain=True)


def _until_end(tokenizer: Tokenizer, tail: list[int]) -> list[int]:
    """Return what follows an answer up to the first special token: the end of the turn."""
    special = set(tokenizer.all_special_ids)
    for token, added in tokenizer.added_tokens_decoder.items():
        if added.special:
            special.add(token)

    for index, token in enumerate(tail):
        if token in special:
            return tail[: index + 1]
    return [tokenizer.eos_token_id]


def _ids(tokenizer: Tokenizer, text: str, plain: bool = False) -> list[int]:
    """Return the ids of a text; plain: special tokens that it spells stay text."""
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=plain)
    return list(encoded["input_ids"])
