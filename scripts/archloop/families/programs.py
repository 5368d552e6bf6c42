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
from archloop.random_seeds import generator

FOLDER = Path(__file__).parent / "templates"
VARIANTS = 24
# The plainest settings come first, so that a small corpus for a small model is made of them.
PLAINEST = {"act": {"ReLU", "GELU", "SiLU"}, "norm": {"batch"}, "head": {"linear", "grid"}}
AXES = {
    "widths": [
        (8, 16, 32),
        (12, 24, 48),
        (16, 24, 40),
        (16, 32, 48),
        (16, 32, 64),
        (20, 32, 56),
        (24, 40, 64),
    ],
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


def render(family: str, variant: dict) -> str:
    """Return the program of a family with these settings, one value of each of AXES."""
    variant = variant | dict(zip("abc", variant["widths"]))
    parts = _templates().get_template("_parts.j2").module
    return _templates().get_template(f"{family}.py.j2").render(p=parts, v=variant).strip() + "\n"


@cache
def family_programs(family: str) -> tuple[SeedProgram, ...]:
    """Return the programs of one family in their fixed order."""
    grid = list(itertools.product(*AXES.values()))
    programs: dict[str, None] = {}
    variants = [
        dict(zip(AXES, values))
        for values in generator("seed programs", family).sample(grid, len(grid))
    ]
    plainest = [
        variant for variant in variants if all(variant[axis] in PLAINEST[axis] for axis in PLAINEST)
    ]
    for variant in plainest[: VARIANTS // 2] + variants:
        programs.setdefault(render(family, variant))
        if len(programs) == VARIANTS:
            break
    return tuple(
        SeedProgram(f"seed-{family}-{number:03d}", family, text)
        for number, text in enumerate(programs)
    )


def known_families(families: Sequence[str] | None) -> list[str]:
    """Return the families that are named, all for None; raise InputError for an unknown one."""
    unknown = sorted(set(families or ()) - set(family_names()))
    if unknown:
        raise InputError(
            f"seed_corpus.families: there is no family {unknown[0]}; there are {', '.join(family_names())}"
        )
    return list(families or family_names())


def seed_programs(
    per_family: int | None = None, families: Sequence[str] | None = None, keep=lambda program: True
) -> list[SeedProgram]:
    """Return the first `per_family` kept programs of each family (None: all), the families taking turns.

    keep: a condition on a program's text, such as a maximum length. Raises InputError for an unknown family.
    """
    chosen = []
    for family in known_families(families):
        kept = (each for each in family_programs(family) if keep(each.program))
        chosen.append(list(itertools.islice(kept, per_family)))
    turns = itertools.zip_longest(*chosen)
    return [each for turn in turns for each in turn if each is not None]


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(FOLDER, encoding="utf-8-sig")
    return jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
