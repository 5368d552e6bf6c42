"""How long the prompts of a run will be, counted without transformers and torch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from archloop.data.dataset_file import DatasetDescription, read_metadata
from archloop.errors import InputError
from archloop.files import read_json
from archloop.generation.answers import RESPONSE_PREFIXES
from archloop.generation.prompts import read_hints, read_template, task_of, write_prompt
from archloop.layout import ROOT
from archloop.model.prepared import MANIFEST
from archloop.preflight.planned_run import PlannedRun
from archloop.settings.chains import typed_section
from archloop.settings.sections import Generation, Prompts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What a prompt may say of a data set that is not prepared yet.
UNKNOWN = DatasetDescription(name="", channels=3, size=256, classes=1000)


def read_tokenizer(run: PlannedRun) -> Tokenizer | None:
    """Return the model's tokenizer, None where it has no tokenizer.json.

    Raises InputError where that cannot be read.
    """
    path = run.model / "tokenizer.json"
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(
            f"{path}: no tokenizer ({error}); delete the model's manifest.json and run again"
        ) from None


class PromptLengths:
    """How many tokens the prompts of a run take."""

    def __init__(self, run: PlannedRun):
        self.run, self.tokenizer = run, read_tokenizer(run)
        manifest = read_json(run.model / MANIFEST)
        self.chat_tokens: int = manifest.get("chat_tokens", 0)
        # Cycles share their texts, and to count the tokens of one takes a while.
        self._longest_text = cache(self._longest_text_of)

    def longest(self, chain: str, cycle: int) -> int:
        """Return the tokens of the longest prompt of a cycle, without references.

        The response prefix counts, and the chat format as the model's manifest has it. A
        model without tokenizer.json is not counted: 0.
        """
        if self.tokenizer is None:
            return 0
        settings = self.run.settings
        prompts = typed_section(settings, Prompts, chain, cycle)
        generation = typed_section(settings, Generation, chain, cycle)
        evaluation = self.run.evaluation(chain, cycle)
        response_prefix = RESPONSE_PREFIXES[generation.response_prefix]

        text_tokens = self._longest_text(
            prompts.template,
            prompts.hints,
            settings["chains"][chain]["dataset"],
            evaluation.epochs,
            evaluation.parameter_budget,
        )

        return self.chat_tokens + text_tokens + self._tokens(response_prefix)

    def _tokens(self, text: str) -> int:
        assert self.tokenizer is not None
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _longest_text_of(
        self, template: str, hints: str, dataset: str, epochs: int, budget: int
    ) -> int:
        """Return the tokens of the longest prompt over all hints. budget: of parameters."""
        read = read_template(ROOT / template)
        task = task_of(description_of(self.run, dataset), epochs, budget)
        lengths = []
        for hint in read_hints(ROOT / hints).values():
            lengths.append(self._tokens(write_prompt(read, task, hint, [])))
        return max(lengths)


def description_of(run: PlannedRun, name: str) -> DatasetDescription:
    """Return what a prompt may say of a data set: as large as any, where it is not prepared yet."""
    path = run.dataset(name)
    return read_metadata(path) if path.is_file() else replace(UNKNOWN, name=name)
