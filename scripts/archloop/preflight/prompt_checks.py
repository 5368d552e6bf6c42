"""The prompts of a run to come, counted before anything is queued; transformers and torch are not needed."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from archloop.data.dataset_file import DatasetDescription, read_metadata
from archloop.errors import InputError
from archloop.files import read_json
from archloop.generation.answers import OPENINGS
from archloop.generation.write_prompts import read_hints, read_template, write_prompt
from archloop.layout import ROOT
from archloop.model.loading import MANIFEST
from archloop.preflight.planned_run import Run
from archloop.settings.chains import effective

# What a prompt may say of a data set that is not prepared yet.
UNKNOWN = DatasetDescription(name="", channels=3, size=256, classes=1000)


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
        read, goal = read_template(ROOT / template), {"epochs": epochs, "parameter_budget": budget}
        said = read_hints(ROOT / hints).values()
        return max(
            length(write_prompt(read, _description(run, dataset), goal, hint, [])) for hint in said
        )

    def count(chain: str, cycle: int) -> int:
        asked = effective(run.settings, "prompts", chain, cycle)
        judged = effective(run.settings, "evaluation", chain, cycle)
        goal = judged["epochs"], judged["parameter_budget"]
        opening = OPENINGS[effective(run.settings, "generation", chain, cycle)["opening"]]
        dataset = run.settings["chains"][chain]["dataset"]
        own = longest(asked["template"], asked["hints"], dataset, *goal)
        return chat + own + length(opening)

    return count


def _description(run: Run, name: str) -> DatasetDescription:
    path = run.dataset(name)
    return read_metadata(path) if path.is_file() else replace(UNKNOWN, name=name)
