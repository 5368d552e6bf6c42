"""What a job has finished so far, one JSON object a line, so that the same job goes on where it was cut."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from archloop.errors import InputError
from archloop.files import parse_json, write_jsonl


@contextlib.contextmanager
def journal(path: Path, key: str) -> Iterator[tuple[list[dict], Callable[[dict], None]]]:
    """Yield (rows that are there, a function that adds one; it is on the disk when the function returns).

    Rows that were written under another `key`, and a last line that was cut off, count for nothing.
    """
    rows = _rows(path, key)
    write_jsonl(path, [{"key": key}, *rows])
    with open(path, "a", encoding="utf-8") as opened:

        def add(row: dict) -> None:
            try:
                opened.write(json.dumps(row, sort_keys=True, allow_nan=False) + "\n")
                opened.flush()
                os.fsync(opened.fileno())
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}") from None

        yield rows, add


def _rows(path: Path, key: str) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        rows = [parse_json(line) for line in lines]
    except (FileNotFoundError, ValueError):
        return []
    return rows[1:] if rows and rows[0] == {"key": key} else []
