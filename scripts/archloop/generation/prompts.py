"""What the language model is asked: a template filled with a data set, a goal, a hint and
references."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import jinja2

from archloop.data.dataset_file import DatasetDescription
from archloop.errors import InputError
from archloop.files import read_jsonl, read_text
from archloop.random_seeds import generator
from archloop.yaml_files import read_yaml


class Reference(TypedDict):
    """A row of the corpus, of which a template may show any column: those here, and all others.

    accuracy: 0 to 1.
    """

    id: str
    program: str
    dataset: str
    accuracy: float
    parameters: int


class HintedProgram(TypedDict):
    """What the prompt of a seed program depends on: its family and, of a LEMUR program, its hints.

    hints: names of those that fit.
    """

    id: str
    family: NotRequired[str | None]
    hints: NotRequired[list[str]]


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


class ShardPrompt(PromptRow):
    """A prompt with the shard that answers it."""

    shard: int


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


def seed_prompt(texts: PromptTexts, task: Task, row: HintedProgram) -> str:
    """Return the prompt that a program of the seed corpus answers: its own hint, no references.

    A family has the hint of its name, if there is one. A LEMUR program has the first hint of those
    that fit, else one drawn by its id, so that not all of them answer one and the same prompt.
    """
    hints = texts.hints
    names = [row["family"], *row.get("hints", ())]
    fitting = [name for name in names if name is not None and name in hints]

    hint = ""
    if fitting:
        hint = hints[fitting[0]]
    elif "hints" in row:
        drawn = generator("hint", row["id"]).choice(sorted(hints))
        hint = hints[drawn]
    return write_prompt(texts.template, task, hint, [])


def prompts_of_shard(path: Path, shard: int, shards: int) -> list[ShardPrompt]:
    """Return the rows of prompts.jsonl that one of the shards answers: they take turns by their
    index."""
    prompts: list[ShardPrompt] = []
    for row in read_jsonl(path, "index", "prompt", "seed"):
        if row["index"] % shards == shard:
            prompts.append({**cast(PromptRow, row), "shard": shard})
    return prompts
