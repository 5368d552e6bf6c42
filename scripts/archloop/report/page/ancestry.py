"""Lines of nearest neighbours, from a design to the seed program that it ends at.

Each step is the nearest program that was known before. Such a line says what was near, not what a
design was made from: a language model has read many programs.
"""

from collections.abc import Container, Mapping
from typing import NamedTuple


class End(NamedTuple):
    """The seed program that a line ends at, and how many steps away it is."""

    seed: str
    steps: int


def ends(nearest: Mapping[str, str | None], seeds: Container[str]) -> dict[str, End | None]:
    """Return design -> where its line ends; None where that is no seed program.

    nearest: design -> its nearest neighbour. Those of a real run lie before it; in a circle there
    is no end.
    """
    found: dict[str, End | None] = {}
    for start in nearest:
        line: list[str] = []
        name: str | None = start
        while name is not None and name in nearest and name not in found and name not in line:
            line.append(name)
            name = nearest[name]

        end = None
        if name is not None and name not in line:
            end = End(name, 0) if name in seeds else found.get(name)
        for steps, design in enumerate(reversed(line), start=1):
            found[design] = End(end.seed, end.steps + steps) if end else None

    return found
