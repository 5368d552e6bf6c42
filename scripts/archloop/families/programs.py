"""The project's own seed programs: families of convolutional networks, as templates.

Each file in templates/ is one family. A variant sets widths, depth, kernel, activation,
normalisation, pooling and head.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

import jinja2

from archloop.errors import InputError
from archloop.random_seeds import generator

FOLDER = Path(__file__).parent / "templates"
VARIANTS = 24
# The plainest settings come first, so that a small corpus for a small model is made of them.
PLAINEST = {"act": {"ReLU", "GELU", "SiLU"}, "norm": {"batch"}, "head": {"linear", "grid"}}
# A value that stands here twice is drawn twice as often.
AXES: dict[str, Sequence[object]] = {
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


class Variant(TypedDict):
    """The settings of one program: a value of each of AXES.

    widths: channels of the three stages. act, norm, pool, head: kinds of layers. k: the size of a
    kernel. n: blocks in a stage.
    """

    widths: tuple[int, int, int]
    act: str
    norm: str
    pool: str
    head: str
    k: int
    n: int


@dataclass(frozen=True)
class SeedProgram:
    """One program of a family; its id names the family and its index in the fixed order."""

    id: str
    family: str
    program: str


def family_names() -> list[str]:
    """Return the names of all families, sorted."""
    return sorted(path.name.removesuffix(".py.j2") for path in FOLDER.glob("[a-z]*.py.j2"))


def variant_of(values: Iterable[object]) -> Variant:
    """Return a variant; values: one of each of AXES, in their order."""
    return cast(Variant, dict(zip(AXES, values)))


def render(family: str, variant: Variant) -> str:
    """Return the program of a family with these settings."""
    a, b, c = variant["widths"]
    settings = {**variant, "a": a, "b": b, "c": c}
    templates = _templates(FOLDER)
    parts = templates.get_template("_parts.j2").module
    template = templates.get_template(f"{family}.py.j2")
    return template.render(p=parts, v=settings).strip() + "\n"


@cache
def family_programs(family: str) -> tuple[SeedProgram, ...]:
    """Return the programs of one family in their fixed order."""
    texts: dict[str, None] = {}
    for variant in _variants(family):
        # The plainest variants come twice, and two may give the same text.
        texts.setdefault(render(family, variant))
        if len(texts) == VARIANTS:
            break

    programs = []
    for number, text in enumerate(texts):
        programs.append(SeedProgram(f"seed-{family}-{number:03d}", family, text))
    return tuple(programs)


def _variants(family: str) -> Iterator[Variant]:
    """Yield the variants of a family in its own fixed order, some of the plainest first."""
    grid = list(itertools.product(*AXES.values()))
    shuffled = generator("seed programs", family).sample(grid, len(grid))
    variants = [variant_of(values) for values in shuffled]
    plain = [variant for variant in variants if _is_plain(variant)]
    yield from plain[: VARIANTS // 2]
    yield from variants


def _is_plain(variant: Mapping[str, object]) -> bool:
    return all(variant[axis] in values for axis, values in PLAINEST.items())


def known_families(families: Sequence[str] | None) -> list[str]:
    """Return the families that are named, all for None; raise InputError for an unknown one."""
    unknown = sorted(set(families or ()) - set(family_names()))
    if unknown:
        raise InputError(
            f"seed_corpus.families: there is no family {unknown[0]}; there are"
            f" {', '.join(family_names())}"
        )

    return list(families or family_names())


def any_program(program: str) -> bool:
    """Keep every program."""
    return True


def seed_programs(
    per_family: int | None = None,
    families: Sequence[str] | None = None,
    keep: Callable[[str], bool] = any_program,
) -> list[SeedProgram]:
    """Return the first `per_family` kept programs of each family (None: all), families in turn.

    keep: a condition on a program's text, such as a maximum length. Raises InputError for an
    unknown family.
    """
    chosen = []
    for family in known_families(families):
        kept = (program for program in family_programs(family) if keep(program.program))
        chosen.append(list(itertools.islice(kept, per_family)))

    programs = []
    for turn in itertools.zip_longest(*chosen):
        programs += [program for program in turn if program is not None]
    return programs


@cache
def _templates(folder: Path) -> jinja2.Environment:
    # With or without a byte order mark.
    loader = jinja2.FileSystemLoader(folder, encoding="utf-8-sig")
    return jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
