"""What a job has finished so far, one JSON object a line: the same job goes on where it was cut."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict, cast

from archloop.errors import InputError
from archloop.files import parse_json, write_jsonl


class AnswerFields(TypedDict):
    """A ModelAnswer of archloop.generation.generate as JSON."""

    raw: str
    prompt_tokens: int
    new_tokens: int
    stopped: str


class AnswerRow(TypedDict):
    """A line of the log: an answer to the prompt at a position of the shard.

    seconds: that the job had taken when the answer ended, those of earlier runs included.
    """

    position: int
    answer: AnswerFields
    seconds: float


@contextlib.contextmanager
def answer_log(
    path: Path, key: str
) -> Iterator[tuple[list[AnswerRow], Callable[[AnswerRow], None]]]:
    """Yield (rows that are there, a function that adds one).

    A row is on the disk when the function returns.

    Rows that were written under another `key`, and a last line that was cut off, count for nothing.
    """
    # Written again as a whole, so that no half line is left in front of what is added.
    rows = _read(path, key)
    write_jsonl(path, [{"key": key}, *rows])
    with open(path, "a", encoding="utf-8") as opened:

        def add(row: AnswerRow) -> None:
            try:
                opened.write(json.dumps(row, sort_keys=True, allow_nan=False) + "\n")
                opened.flush()
                os.fsync(opened.fileno())
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}") from None

        yield rows, add


def _read(path: Path, key: str) -> list[AnswerRow]:
    rows: list[object] = []
    try:
        text = path.read_text(encoding="utf-8")
        # A line is whole where a line feed ends it.
        for line in text.split("\n")[:-1]:
            rows.append(parse_json(line))
    except (FileNotFoundError, ValueError):
        return []

    if not rows or rows[0] != {"key": key}:
        return []
    return cast(list[AnswerRow], rows[1:])  # as the key says
