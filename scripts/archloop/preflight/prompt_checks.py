"""The prompts of a run to come, counted before anything is queued; transformers and torch are not needed."""

import json
from collections.abc import Callable
from functools import cache

from archloop.errors import InputError
from archloop.files import read_json
from archloop.generation.answers import OPENINGS
from archloop.generation.write_prompts import read_hints, read_template, task_of, write_prompt
from archloop.layout import ROOT
from archloop.model.memory import read_header
from archloop.model.prepared import MANIFEST
from archloop.preflight.planned_run import Run
from archloop.settings.chains import effective

# What a prompt may say of a data set that is not prepared yet.
UNKNOWN = {"channels": 3, "size": 256, "classes": 1000}


def prompt_counter(run: Run) -> Callable[[str, int], int]:
    """Return what gives, for a chain and a cycle, the tokens of the longest prompt without references.

    The opening of the answer counts, and the chat format as the model's manifest has it. A model without tokenizer.json
    is not counted (0).
    """
    path = run.model / "tokenizer.json"
    if not path.is_file():
        return lambda chain, cycle: 0
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(
            f"{path}: no tokenizer ({error}); delete the model's manifest.json and run again"
        ) from None
    chat = read_json(run.model / MANIFEST).get("chat_tokens", 0)

    def length(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    @cache
    def longest(template: str, hints: str, dataset: str, epochs: int, budget: int) -> int:
        read, task = read_template(ROOT / template), task_of(_facts(run, dataset), epochs, budget)
        said = read_hints(ROOT / hints).values()
        return max(length(write_prompt(read, task, hint, [])) for hint in said)

    def count(chain: str, cycle: int) -> int:
        asked = effective(run.settings, "prompts", chain, cycle)
        judged = effective(run.settings, "evaluation", chain, cycle)
        goal = judged["epochs"], judged["parameter_budget"]
        opening = OPENINGS[effective(run.settings, "generation", chain, cycle)["opening"]]
        dataset = run.settings["chains"][chain]["dataset"]
        own = longest(asked["template"], asked["hints"], dataset, *goal)
        return chat + own + length(opening)

    return count


def _facts(run: Run, name: str) -> dict:
    path = run.dataset(name)
    if not path.is_file():
        return UNKNOWN | {"name": name}
    return json.loads(read_header(path).metadata["facts"])
