"""What the language model is asked: a template filled with facts of the data set, the goal, a hint and references."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2

from archloop.data.dataset_file import DatasetDescription
from archloop.errors import InputError
from archloop.files import read_text
from archloop.layout import Cell
from archloop.random_seeds import derive, generator
from archloop.yaml_files import read_yaml


def read_hints(path: Path) -> dict[str, str]:
    """Return name -> sentence. Raises InputError when the file is no mapping of names to sentences."""
    hints = read_yaml(path)
    if (
        not isinstance(hints, dict)
        or not hints
        or not all(isinstance(hint, str) for hint in hints.values())
    ):
        raise InputError(f"{path}: wants lines of the form 'name: sentence', at least one")
    return {str(name): hint.strip() for name, hint in hints.items()}


def read_template(path: Path) -> jinja2.Template:
    """Return the prompt's template; raise InputError when it is missing or no template."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=False)
    try:
        return environment.from_string(read_text(path))
    except jinja2.TemplateError as error:
        raise InputError(f"{path}: no Jinja2 template ({error})") from None


def write_prompt(
    template: jinja2.Template,
    dataset: DatasetDescription,
    goal: dict,
    hint: str,
    references: list[dict],
) -> str:
    """Return one prompt.

    goal: epochs, parameter_budget. references: rows of the corpus with program, parameters, accuracy (0 to 1) and
    dataset.
    """
    facts = {
        "dataset": dataset.name,
        "channels": dataset.channels,
        "size": dataset.size,
        "classes": dataset.classes,
    }
    try:
        text = template.render(**facts, **goal, hint=hint, references=references)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise InputError(f"the prompt's template cannot be filled: {error}") from None
    return text.strip() + "\n"


def seed_prompt(
    template: jinja2.Template,
    hints: dict[str, str],
    dataset: DatasetDescription,
    goal: dict,
    row: Mapping,
) -> str:
    """Return the prompt that a program of the seed corpus answers: its own hint, no references.

    row: family and, of a LEMUR program, id and hints: names of those that fit. A family has the hint of its name, if
    there is one. A LEMUR program has the first hint of those that fit, else one drawn by its id, so that not all of
    them answer one and the same prompt.
    """
    names = [name for name in (row["family"], *row.get("hints", ())) if name in hints]
    if not names and "hints" in row:
        names = [generator("hint", row["id"]).choice(sorted(hints))]
    return write_prompt(template, dataset, goal, hints[names[0]] if names else "", [])


def cycle_prompts(
    chain: str,
    cycle: int,
    seed: int,
    count: int,
    template: jinja2.Template,
    hints: dict[str, str],
    dataset: DatasetDescription,
    goal: dict,
    corpus: list[dict],
    references: int,
    fits: Callable[[str], bool] = lambda prompt: True,
) -> list[dict]:
    """Return the prompts of one cycle, one for each candidate to come.

    Each draws its hint and its references from its own seed, so the first n prompts of a longer list are those of a
    shorter one. Of the references that are drawn, in their order, those are shown with which the prompt still `fits`.
    The row's `seed` is the one that its candidate is sampled with.
    """
    rows, names = [], sorted(hints)
    cell = Cell(chain, cycle)
    for index in range(count):
        dice = generator(seed, chain, cycle, "prompt", index)
        name = dice.choice(names)
        shown: list[dict] = []
        for reference in dice.sample(corpus, min(references, len(corpus))):
            if fits(write_prompt(template, dataset, goal, hints[name], [*shown, reference])):
                shown.append(reference)
        rows.append(
            {
                "id": cell.candidate_id(index),
                "chain": chain,
                "cycle": cycle,
                "index": index,
                "prompt_id": cell.prompt_id(index),
                "hint": name,
                "references": [row["id"] for row in shown],
                "prompt": write_prompt(template, dataset, goal, hints[name], shown),
                "seed": derive(seed, chain, cycle, "generate", index),
            }
        )
    return rows


def room_for_answer(model_folder: Path, max_new_tokens: int, opening: str) -> Callable[[str], bool]:
    """Return what tells whether the model's context holds a prompt and an answer of `max_new_tokens` to it.

    opening: that of generation.opening, which takes its place, too.
    """
    from archloop.generation.answers import OPENINGS
    from archloop.model.chat_template import chat_tokens, opening_tokens
    from archloop.model.loading import load_tokenizer
    from archloop.model.memory import context_length

    tokenizer = load_tokenizer(model_folder)
    room = (
        context_length(model_folder)
        - max_new_tokens
        - len(opening_tokens(tokenizer, OPENINGS[opening]))
    )
    return lambda prompt: len(chat_tokens(tokenizer, prompt)) <= room
