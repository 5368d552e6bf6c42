"""Lines of nearest neighbours: from a design over the nearest program that was known before it, to a seed program.

Such a line says what was near, not what a design was made from: a language model has read many programs.
"""

from collections.abc import Container


def ends(
    nearest: dict[str, str | None], seeds: Container[str]
) -> dict[str, tuple[str, int] | None]:
    """Return design -> (the seed program that its line ends at, how many steps away); None where it ends elsewhere.

    nearest: design -> its nearest neighbour. Those of a real run lie before it; in a circle there is no end.
    """
    found: dict[str, tuple[str, int] | None] = {}
    for start in nearest:
        passed, name = {}, start
        while name in nearest and name not in found and name not in passed:
            passed[name] = None
            name = nearest[name]
        end = None if name in passed else (name, 0) if name in seeds else found.get(name)
        for place, each in enumerate(reversed(passed), start=1):
            found[each] = (end[0], end[1] + place) if end else None
    return found
