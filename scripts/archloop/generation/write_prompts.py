"""What the language model is asked: a template filled with a data set, a goal, a hint and
references."""

import dataclasses
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import jinja2

from archloop.data.dataset_file import DatasetDescription
from archloop.errors import InputError
from archloop.files import read_text
from archloop.layout import Cell
from archloop.random_seeds import derive, generator
from archloop.yaml_files import read_yaml

# A row of the corpus, of which a template may show any column: program, parameters, accuracy (0 to
# 1), dataset, ...
Reference = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What a design is for, by the names that templates know.

    dataset: its name; size: pixels of a side. epochs: of the judge's training. parameter_budget:
    the most weights.
    """

    dataset: str
    channels: int
    size: int
    classes: int
    epochs: int
    parameter_budget: int


@dataclass(frozen=True)
class PromptTexts:
    """What prompts are written with: the template, and hints by their names."""

    template: jinja2.Template
    hints: dict[str, str]


def any_prompt_fits(prompt: str) -> bool:
    return True


@dataclass(frozen=True)
class References:
    """Which programs prompts may show: `count` of the corpus each, with which the prompt still
    `fits` the model."""

    corpus: list[Reference] = dataclasses.field(default_factory=list)
    count: int = 0
    fits: Callable[[str], bool] = any_prompt_fits


@dataclass(frozen=True)
class Contents:
    """What the prompts of a cycle are made of."""

    texts: PromptTexts
    task: Task
    references: References


class PromptRow(TypedDict):
    """A line of prompts.jsonl.

    seed: the one that its candidate is sampled with; references: ids of those shown.
    """

    id: str
    chain: str
    cycle: int
    index: int
    prompt_id: str
    hint: str
    references: list[str]
    prompt: str
    seed: int


def read_hints(path: Path) -> dict[str, str]:
    """Return name -> sentence.

    Raises InputError when the file is no mapping of names to sentences.
    """
    hints = read_yaml(path)
    is_mapping = isinstance(hints, dict) and len(hints) > 0
    if not is_mapping or not all(isinstance(hint, str) for hint in hints.values()):
        raise InputError(f"{path}: wants lines of the form 'name: sentence', at least one")
    return {str(name): hint.strip() for name, hint in hints.items()}


def read_template(path: Path) -> jinja2.Template:
    """Return the prompt's template; raise InputError when it is missing or no template."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=False)
    try:
        return environment.from_string(read_text(path))
    except jinja2.TemplateError as error:
        raise InputError(f"{path}: no Jinja2 template ({error})") from None


def task_of(dataset: DatasetDescription, epochs: int, parameter_budget: int) -> Task:
    """Return the task that a data set gives."""
    return Task(
        dataset=dataset.name,
        channels=dataset.channels,
        size=dataset.size,
        classes=dataset.classes,
        epochs=epochs,
        parameter_budget=parameter_budget,
    )


def write_prompt(
    template: jinja2.Template, task: Task, hint: str, references: list[Reference]
) -> str:
    """Return one prompt; raise InputError where the template asks for what there is not."""
    variables = dataclasses.asdict(task)
    try:
        text = template.render(**variables, hint=hint, references=references)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InputError(f"the prompt's template cannot be filled: {error}") from None
    return text.strip() + "\n"


def seed_prompt(texts: PromptTexts, task: Task, row: Mapping[str, Any]) -> str:
    """Return the prompt that a program of the seed corpus answers: its own hint, no references.

    row: family and, of a LEMUR program, id and hints: names of those that fit. A family has the
    hint of its name, if there is one. A LEMUR program has the first hint of those that fit, else
    one drawn by its id, so that not all of them answer one and the same prompt.
    """
    hints = texts.hints
    fitting = [name for name in (row["family"], *row.get("hints", ())) if name in hints]

    hint = ""
    if fitting:
        hint = hints[fitting[0]]
    elif "hints" in row:
        hint = hints[generator("hint", row["id"]).choice(sorted(hints))]
    return write_prompt(texts.template, task, hint, [])


def cycle_prompts(
    chain: str, cycle: int, seed: int, count: int, contents: Contents
) -> list[PromptRow]:
    """Return the prompts of one cycle, one for each candidate to come.

    Each draws its hint and its references from its own seed, so the first n prompts of a longer
    list are those of a shorter one. seed: that of the run.
    """
    names = sorted(contents.texts.hints)
    cell = Cell(chain, cycle)
    rows = []
    for index in range(count):
        rng = generator(seed, chain, cycle, "prompt", index)
        name = rng.choice(names)

        prompt, shown = _with_references(contents, contents.texts.hints[name], rng)
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
    contents: Contents, hint: str, rng: random.Random
) -> tuple[str, list[Reference]]:
    """Return (prompt, references in it): of those that are drawn, in their order, all with which it
    still fits."""
    template, task, references = contents.texts.template, contents.task, contents.references
    count = min(references.count, len(references.corpus))

    shown: list[Reference] = []
    for reference in rng.sample(references.corpus, count):
        if references.fits(write_prompt(template, task, hint, [*shown, reference])):
            shown.append(reference)

    return write_prompt(template, task, hint, shown), shown


def room_for_answer(model_folder: Path, max_new_tokens: int, opening: str) -> Callable[[str], bool]:
    """Return what tells whether the model's context holds a prompt and an answer of
    `max_new_tokens` to it.

    opening: that of generation.opening, which takes its place, too.
    """
    from archloop.generation.answers import OPENINGS
    from archloop.model.chat_template import chat_tokens, opening_tokens
    from archloop.model.loading import load_tokenizer
    from archloop.model.memory import context_length

    tokenizer = load_tokenizer(model_folder)

    opening_length = len(opening_tokens(tokenizer, OPENINGS[opening]))
    room = context_length(model_folder) - max_new_tokens - opening_length
    return lambda prompt: len(chat_tokens(tokenizer, prompt)) <= room
