"""Prompts and answers in a model's own format: its chat template decides where a turn begins and ends.

What a model is asked with and what it is taught come from the same template, so that an answer continues exactly the
tokens that a prompt ends with, and stops with the token that ends a turn.
"""

import datetime
from collections.abc import Sequence

from archloop.errors import InputError, kind_and_line
from archloop.progress import get_logger

# For a model that brings no template of its own.
PLAIN = (
    "{% for message in messages %}{% if message.role == 'user' %}### Instruction:\n{{ message.content }}\n"
    "{% else %}### Response:\n{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)

# Some templates write today's date into the prompt: for them it is always the same day, so that programs do not depend
# on the clock. Llama's own takes this one where it can ask no clock.
TODAY = datetime.datetime(2024, 7, 26)
PARTS = "".join(f"|replace('%{code}', '{TODAY.strftime('%' + code)}')" for code in "aAbBdHIjmMpSyY")
CLOCK = "{%- macro strftime_now(format) -%}{{ format" + PARTS + " }}{%- endmacro -%}"

logger = get_logger("chat")


def ensure_template(tokenizer) -> None:
    """Give a tokenizer without a chat template the plain one, with a notice."""
    if tokenizer.chat_template is None:
        logger.warning(
            "the tokenizer has no chat template; prompts go in as '### Instruction' and '### Response'"
        )
        begins = (
            tokenizer.bos_token if tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id else ""
        )
        tokenizer.chat_template = begins + PLAIN


def chat_tokens(tokenizer, *turns: str) -> list[int]:
    """Return the token ids of a user's prompt, ready for the answer, by the tokenizer's chat template.

    turns: the prompt alone, or a conversation: the user's, the model's, ..., the user's. A mark of the template that a
    turn spells, in a program that it shows, stays text. A tokenizer without a template gets a plain one, with a notice.
    """
    return _turn_ids(tokenizer, _turns(tokenizer, *turns), turns)


def opening_tokens(tokenizer, opening: str) -> list[int]:
    """Return what follows the ids of a prompt where the answer is made to begin with `opening`; none for no text."""
    return _begun(tokenizer, _parts(tokenizer, "x", opening)[1], opening) if opening else []


def encode_pair(tokenizer, prompt: str, program: str) -> tuple[list[int], list[int]]:
    """Return (prompt ids, answer ids) of a program in its fence; the answer ends with the token that ends a turn.

    The prompt's ids are those of `chat_tokens`, so training sees what generation will see. What the template puts
    between them and the program belongs to the answer: the model has to write it. What follows the end of the turn
    does not: nobody ever asks for it. Text in the program that spells a special token stays text.
    """
    answer = f"```python\n{program.strip()}\n```"
    before, lead, tail = _parts(tokenizer, prompt, answer)
    middle = _begun(tokenizer, lead, answer)
    return _turn_ids(tokenizer, before, [prompt]), middle + _until_end(
        tokenizer, _ids(tokenizer, tail)
    )


def end_of_turn(tokenizer) -> int:
    """Return the token that ends an answer in the tokenizer's chat format: where generation may stop."""
    return encode_pair(tokenizer, "x", "x")[1][-1]


def _turns(tokenizer, *turns: str) -> str:
    ensure_template(tokenizer)
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": turn} for number, turn in enumerate(turns)]
    ask = len(turns) % 2 == 1
    try:
        template = tokenizer.get_chat_template()
        template = CLOCK + template if "strftime_now" in template else template
        return tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=ask,
            chat_template=template,
            date_string=f"{TODAY:%d %b %Y}",
        )
    except Exception as error:  # a template is a program of its own
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template fails ({kind_and_line(error)})"
        ) from None


def _parts(tokenizer, prompt: str, answer: str) -> tuple[str, str, str]:
    """Return (prompt, what stands between prompt and answer, what follows the answer) as the template writes them."""
    before, whole = _turns(tokenizer, prompt), _turns(tokenizer, prompt, answer)
    place = whole.rfind(answer)
    if whole.startswith(before) and place >= len(before):
        return before, whole[len(before) : place], whole[place + len(answer) :]
    # The template asks otherwise than it tells: what it asks with counts, for that is what generation sees.
    return before, "", ""


def _turn_ids(tokenizer, text: str, turns: Sequence[str]) -> list[int]:
    """Return the ids of a conversation as the template writes it, what its turns spell being text."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    marks = {
        token: facts
        for token, facts in tokenizer.added_tokens_decoder.items()
        if (facts.special or facts.content in template)
        and any(facts.content in turn for turn in turns)
    }
    if not marks or not tokenizer.is_fast:
        return _ids(tokenizer, text)
    spans, at = [], 0
    for turn in turns:
        found = next((form for form in (turn, turn.strip()) if text.find(form, at) >= 0), None)
        if found is not None:
            start = text.find(found, at)
            at = start + len(found)
            spans.append((start, at))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = []
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"]):
        spelt = token in marks and any(first <= start and end <= last for first, last in spans)
        ids += _spelt(tokenizer, text[start:end], marks[token].special) if spelt else [token]
    return ids


def _spelt(tokenizer, mark: str, special: bool) -> list[int]:
    """Return the ids of a mark as text. Added tokens that are not special are found in all text: it comes in two."""
    parts = [mark] if special else [mark[0], mark[1:]]
    return [token for part in parts for token in _ids(tokenizer, part, plain=True)]


def _begun(tokenizer, lead: str, answer: str) -> list[int]:
    """Return the ids of an answer and of what the template puts before it."""
    if lead.strip():
        return _ids(tokenizer, lead) + _ids(tokenizer, answer, plain=True)
    return _ids(tokenizer, lead + answer, plain=True)


def _until_end(tokenizer, tail: list[int]) -> list[int]:
    special = set(tokenizer.all_special_ids)
    special |= {token for token, facts in tokenizer.added_tokens_decoder.items() if facts.special}
    for place, token in enumerate(tail):
        if token in special:
            return tail[: place + 1]
    return [tokenizer.eos_token_id]


def _ids(tokenizer, text: str, plain: bool = False) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"]
