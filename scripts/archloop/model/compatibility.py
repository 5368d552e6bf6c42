"""Whether the parts of a model fit together: configuration, weights, tokenizer and chat template.

No weight is loaded, so it is known in seconds, before any job.
"""

from pathlib import Path
from typing import Any

from archloop.errors import InputError, kind_and_line
from archloop.files import read_foreign_json
from archloop.model.chat_template import chat_tokens, encode_pair
from archloop.model.loading import load_tokenizer
from archloop.model.types import LanguageModel, Tokenizer

# A program with all that Python needs to come through a tokenizer: indents, blank lines, tabs,
# quotes, other letters.
SAMPLE = """import torch.nn as nn


class Net(nn.Module):
    def forward(self, x):
\t\t# caf\u00e9, '\u4e2d' -> \u00e4
        if x.shape[1] != 3 and not (x >= 0.5).all() :
            return {"a" : x ** 2, 'b': -1e-05}

        return self.net ( x )  ,  x [ 0 ]"""


def check_compatibility(folder: Path, stored: int) -> int:
    """Return how many tokens the chat format adds to a prompt; no weight is loaded.

    stored: how many numbers the weights are. Raises InputError unless configuration, weights,
    tokenizer and chat template fit together.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            make: Any = AutoModelForCausalLM.from_config
            model = make(config)
    except Exception as error:  # a configuration that it does not know gives any kind of error
        raise InputError(
            f"config.json describes no causal language model ({kind_and_line(error)})"
        ) from None
    _check_attention(model)

    described = model.num_parameters()
    packed = hasattr(model.config, "quantization_config")  # its numbers are fewer
    if stored < described and not packed:
        raise InputError(
            f"its weights are {stored} numbers, where config.json describes {described}"
        )

    tokenizer = load_tokenizer(folder)
    _check_tokens(model, tokenizer, folder / "generation_config.json")
    _check_text(tokenizer)
    return len(chat_tokens(tokenizer, "x")) - 1


def _check_attention(model: LanguageModel) -> None:
    """Raise InputError for a model that keeps more than keys and values of its text: padding would
    count in it."""
    from transformers.cache_utils import DynamicCache

    layers = {type(layer).__name__ for layer in DynamicCache(config=model.config).layers}
    odd = sorted(layers - {"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"})
    if odd or getattr(model, "_is_stateful", False):
        raise InputError(
            f"{type(model).__name__} is recurrent or a hybrid"
            f" ({', '.join(odd) or 'it keeps a state'}); texts of different length cannot"
            " be sampled together with it; take a model of attention alone"
        )


def _check_tokens(model: LanguageModel, tokenizer: Tokenizer, generation: Path) -> None:
    """Raise InputError for a token that a job could use and that the embeddings have no row for."""
    rows = model.get_input_embeddings().num_embeddings
    prompt, answer = encode_pair(tokenizer, "x", "x")
    used = {
        "pad token": [tokenizer.pad_token_id],
        "end of text": [tokenizer.eos_token_id],
        "end of text (generation_config.json)": _end_tokens(model, generation),
        "added token": tokenizer.added_tokens_decoder,
        "chat format's token": [*prompt, *answer],
        "vocabulary's last token": [tokenizer.vocab_size - 1],
    }

    for what, tokens in used.items():
        largest = max(tokens, default=0)
        if largest >= rows:
            spelt = tokenizer.convert_ids_to_tokens(largest)
            raise InputError(
                f"its tokenizer's {what} is {largest} ({spelt!r}), its weights know those below"
                f" {rows}; name another one in the tokenizer's files, or resize the embeddings"
            )


def _end_tokens(model: LanguageModel, generation: Path) -> list[int]:
    """Return the tokens that end a text by generation_config.json, by config.json where there is
    none."""
    ends = model.config.eos_token_id
    if generation.is_file():
        ends = read_foreign_json(generation).get("eos_token_id")
    if ends is None:
        return []
    if not isinstance(ends, list):
        ends = [ends]
    if not all(type(end) is int for end in ends):
        raise InputError(f"{generation.name}: eos_token_id: {ends} is no list of tokens")
    return ends


def _check_text(tokenizer: Tokenizer) -> None:
    """Raise InputError where a program does not come out of the tokenizer as it went in."""
    answer = f"```python\n{SAMPLE}\n```"
    tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
    decoded = tokenizer.decode(tokens, skip_special_tokens=True)
    if decoded == answer:
        return
    differs = _first_difference(decoded, answer)
    around = slice(max(0, differs - 4), differs + 20)
    raise InputError(
        f"its tokenizer does not give a program back as it was: {answer[around]!r} becomes"
        f" {decoded[around]!r}; take another release of transformers, or fix tokenizer.json"
    )


def _first_difference(one: str, two: str) -> int:
    for index, (first, second) in enumerate(zip(one, two)):
        if first != second:
            return index
    return min(len(one), len(two))
