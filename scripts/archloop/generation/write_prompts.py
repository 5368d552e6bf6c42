"""The prompts of one cycle: each draws its hint, and programs of the corpus to show."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from archloop.corpus.tables import read_corpus
from archloop.data.dataset_file import read_metadata
from archloop.generation.prompts import (
    PromptRow,
    PromptTexts,
    Reference,
    Task,
    read_hints,
    read_template,
    task_of,
    write_prompt,
)
from archloop.layout import Cell
from archloop.logs import get_logger
from archloop.random_seeds import derive, generator
from archloop.settings.sections import Prompts

logger = get_logger("prompts")


@dataclass(frozen=True)
class PromptJob:
    """The prompts of one cycle, as they are asked for.

    seed: that of the run. candidates: each of them answers one prompt. epochs, parameter_budget: of
    the judge, which prompts name. dataset: its prepared file. corpus: the files from which
    references are drawn. model: folder of the prepared model; references are shown as long as its
    context holds them and an answer, all where it is None. max_new_tokens, response_prefix: of the
    settings of generation.
    """

    chain: str
    cycle: int
    seed: int
    candidates: int
    epochs: int
    parameter_budget: int
    dataset: Path
    corpus: list[Path]
    model: Path | None
    max_new_tokens: int
    response_prefix: str
    settings: Prompts


def any_prompt_fits(prompt: str) -> bool:
    return True


@dataclass(frozen=True)
class References:
    """Which programs prompts may show: `count` of the corpus each, with which the prompt still
    `fits` the model."""

    corpus: Sequence[Reference] = ()
    count: int = 0
    fits: Callable[[str], bool] = any_prompt_fits


@dataclass(frozen=True)
class PromptParts:
    """What the prompts of a cycle are made of."""

    texts: PromptTexts
    task: Task
    references: References


def write_prompts(job: PromptJob) -> list[PromptRow]:
    """Return the prompts of a cycle, in the order of its candidates."""
    settings = job.settings
    template = read_template(Path(settings.template))
    hints = read_hints(Path(settings.hints))
    task = task_of(read_metadata(job.dataset), job.epochs, job.parameter_budget)

    parts = PromptParts(PromptTexts(template, hints), task, _references(job))
    rows = cycle_prompts(job.chain, job.cycle, job.seed, job.candidates, parts)

    fewer = sum(len(row["references"]) < settings.references for row in rows)
    if fewer:
        logger.info("%d of %d prompts show fewer references than asked for", fewer, len(rows))
    return rows


def _references(job: PromptJob) -> References:
    count = job.settings.references
    # Tables of the corpus are large; most runs show none of it.
    corpus: list[Reference] = []
    if count:
        corpus = cast(list[Reference], read_corpus(job.corpus).to_dicts())

    fits: Callable[[str], bool] = any_prompt_fits
    if job.model is not None:
        fits = room_for_answer(job.model, job.max_new_tokens, job.response_prefix)
    return References(corpus, count, fits)


def cycle_prompts(
    chain: str, cycle: int, seed: int, count: int, parts: PromptParts
) -> list[PromptRow]:
    """Return the prompts of one cycle, one for each candidate to come.

    Each draws its hint and its references from its own seed, so the first n prompts of a longer
    list are those of a shorter one. seed: that of the run.
    """
    names = sorted(parts.texts.hints)
    cell = Cell(chain, cycle)
    rows = []
    for index in range(count):
        rng = generator(seed, chain, cycle, "prompt", index)
        name = rng.choice(names)

        prompt, shown = _with_references(parts, parts.texts.hints[name], rng)
        row = PromptRow(
            id=cell.candidate_id(index),
            chain=chain,
            cycle=cycle,
            index=index,
            prompt_id=cell.prompt_id(index),
            hint=name,
            references=[reference["id"] for reference in shown],
            prompt=prompt,
            seed=derive(seed, chain, cycle, "generate", index),
        )
        rows.append(row)
    return rows


def _with_references(
    parts: PromptParts, hint: str, rng: random.Random
) -> tuple[str, list[Reference]]:
    """Return (prompt, references in it): of those that are drawn, in their order, all with which it
    still fits."""
    template, task, references = parts.texts.template, parts.task, parts.references
    count = min(references.count, len(references.corpus))

    # One that is too long for the room left is skipped: a shorter one after it may still fit.
    shown: list[Reference] = []
    for reference in rng.sample(references.corpus, count):
        longer = write_prompt(template, task, hint, [*shown, reference])
        if references.fits(longer):
            shown.append(reference)

    prompt = write_prompt(template, task, hint, shown)
    return prompt, shown


def room_for_answer(
    model_folder: Path, max_new_tokens: int, response_prefix: str
) -> Callable[[str], bool]:
    """Return what tells whether the model's context holds a prompt and an answer of
    `max_new_tokens` to it.

    response_prefix: that of generation.response_prefix, which takes its place, too.
    """
    from archloop.generation.answers import RESPONSE_PREFIXES
    from archloop.model.chat_template import chat_tokens, response_prefix_tokens
    from archloop.model.loading import load_tokenizer
    from archloop.model.memory import context_length

    tokenizer = load_tokenizer(model_folder)

    prefix_length = len(response_prefix_tokens(tokenizer, RESPONSE_PREFIXES[response_prefix]))
    room = context_length(model_folder) - max_new_tokens - prefix_length
    return lambda prompt: len(chat_tokens(tokenizer, prompt)) <= room
