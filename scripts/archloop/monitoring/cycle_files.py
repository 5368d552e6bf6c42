"""What the files of a cycle say of it, finished or under way. Standard library only."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import EVALUATED


class ValidRate(TypedDict):
    """How many candidates were valid, and their share: None where there were none."""

    count: int
    share: float | None


class Accuracies(TypedDict):
    """The mean and the best accuracy of the valid candidates; None where there were none."""

    mean: float | None
    best: float | None


class CycleSummary(TypedDict):
    """What is read of the summary of a finished cycle. funnel: outcome -> candidates."""

    cycle: int
    candidates: int
    funnel: dict[str, int]
    valid: ValidRate
    accuracy: Accuracies


class JudgedCandidate(TypedDict):
    """What is read of a record of the judge. graph: None where the program has none."""

    outcome: str
    accuracy: float | None
    graph: str | None


def read_summary(path: Path) -> CycleSummary:
    """Return a summary; raise InputError where it is not there or not whole."""
    return cast(CycleSummary, read_json(path, *CycleSummary.__annotations__))


def judged_so_far(folder: Path) -> Iterator[JudgedCandidate]:
    """Yield the candidates of a cycle that are judged.

    A file that is just being replaced is left out, as is a record that is none: the next look finds
    them whole.
    """
    for path in sorted((folder / EVALUATED).glob("[0-9]*.json")):
        if path.name.endswith(".run.json"):
            continue
        try:
            records = read_json(path, "records")["records"]
        except InputError:
            continue
        for record in records:
            if isinstance(record, dict) and "outcome" in record:
                yield JudgedCandidate(
                    outcome=str(record["outcome"]),
                    accuracy=record.get("accuracy"),
                    graph=_digest(record.get("graph")),
                )


def _digest(graph: object) -> str | None:
    """Return the digest of a graph; a candidate's process sent it, so it may be anything."""
    if not isinstance(graph, dict) or "digest" not in graph:
        return None
    return str(graph["digest"])
