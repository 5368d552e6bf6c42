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
    end_of: dict[str, End | None] = {}
    for start in nearest:
        line: list[str] = []
        name: str | None = start
        while name and name in nearest and not (name in end_of or name in line):
            line.append(name)
            name = nearest[name]

        end = end_of.get(name) if name else None
        if name and name in seeds and name not in line:
            end = End(name, 0)

        # All designs of the line share its end, each a step further from it than the next.
        for design in reversed(line):
            if end:
                end = End(end.seed, end.steps + 1)
            end_of[design] = end

    return end_of
