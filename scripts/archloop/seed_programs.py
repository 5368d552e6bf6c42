"""The project's own seed programs: families of convolutional networks, written by hand as templates, settings varied.

Each file in families/ is one family. A variant sets widths, depth, kernel, activation, normalisation, pooling and head.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from archloop.errors import InputError
from archloop.seeds import generator

FOLDER = Path(__file__).parent / "families"
VARIANTS = 24
# The plainest settings come first, so that a small corpus for a small model is made of them.
PLAINEST = {"act": {"ReLU", "GELU", "SiLU"}, "norm": {"batch"}, "head": {"linear", "grid"}}
AXES = {
    "widths": [(8, 16, 32), (12, 24, 48), (16, 24, 40), (16, 32, 48), (16, 32, 64), (20, 32, 56), (24, 40, 64)],
    "act": ["ReLU", "GELU", "SiLU", "LeakyReLU", "ELU", "Hardswish"],
    "norm": ["batch", "batch", "group"],
    "pool": ["max", "avg"],
    "head": ["linear", "grid", "dropout", "hidden"],
    "k": [3, 3, 5],
    "n": [1, 2],
}


@dataclass(frozen=True)
class SeedProgram:
    """One program of a family; its id names the family and its place in the family's fixed order."""

    id: str
    family: str
    program: str


def family_names() -> list[str]:
    """Return the names of all families, sorted."""
    return sorted(path.name.removesuffix(".py.j2") for path in FOLDER.glob("[a-z]*.py.j2"))


@cache
def family_programs(family: str) -> tuple[SeedProgram, ...]:
    """Return the programs of one family in their fixed order."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    parts = environment.get_template("_parts.j2").module
    template = environment.get_template(f"{family}.py.j2")
    grid = list(itertools.product(*AXES.values()))
    programs: dict[str, None] = {}
    variants = [dict(zip(AXES, values)) for values in generator("seed programs", family).sample(grid, len(grid))]
    plainest = [variant for variant in variants if all(variant[axis] in PLAINEST[axis] for axis in PLAINEST)]
    for variant in plainest[: VARIANTS // 2] + variants:
        variant = variant | dict(zip("abc", variant["widths"]))
        programs.setdefault(template.render(p=parts, v=variant).strip() + "\n")
        if len(programs) == VARIANTS:
            break
    return tuple(SeedProgram(f"seed-{family}-{number:03d}", family, text) for number, text in enumerate(programs))


def seed_programs(
    per_family: int | None = None, families: Sequence[str] | None = None, keep=lambda program: True
) -> list[SeedProgram]:
    """Return the first `per_family` kept programs of each family (None: all), the families taking turns.

    keep: a condition on a program's text, such as a maximum length. Raises InputError for an unknown family.
    """
    unknown = sorted(set(families or ()) - set(family_names()))
    if unknown:
        raise InputError(
            f"seed_corpus.families: there is no family {unknown[0]}; there are {', '.join(family_names())}"
        )
    chosen = []
    for family in families or family_names():
        kept = (each for each in family_programs(family) if keep(each.program))
        chosen.append(list(itertools.islice(kept, per_family)))
    turns = itertools.zip_longest(*chosen)
    return [each for turn in turns for each in turn if each is not None]
