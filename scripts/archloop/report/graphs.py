"""The computed graphs of admitted designs, out of what the judge recorded."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from archloop.errors import InputError
from archloop.files import AGAIN, parse_json, read_json, read_text
from archloop.novelty.graph_record import MAXIMUM_NODES
from archloop.report.graph_drawing import GraphBlock, fold

# How write_json lays out the records of a file, and the id of one.
RECORDS_BEGIN = '"records": [\n  {\n'
BETWEEN_RECORDS = "\n  },\n  {\n"
RECORDS_END = "\n  }\n ]"
RECORD_ID = re.compile(r'^   "id": ("(?:[^"\\]|\\.)*")', re.MULTILINE)


class JudgedProgram(TypedDict):
    """What is read here of a record of the judge. graph: as the candidate's process sent it."""

    id: str
    graph: NotRequired[object]


@dataclass(frozen=True)
class Graph:
    """A graph as it is drawn. blocks: None where it cannot be read. cut: it has more nodes."""

    blocks: list[GraphBlock] | None = None
    cut: bool = False


def read_graphs(folder: Path, wanted: set[str]) -> Iterator[tuple[str, Graph]]:
    """Yield (id, graph) of some candidates, out of the records of one cycle's judge.

    Each is folded at once: listed as the judge does it is large.
    """
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(".run.json"):
            continue
        for record in judged_programs(path, wanted):
            yield record["id"], _graph(record)


def _graph(record: JudgedProgram) -> Graph:
    # Its text is a candidate's: it may be anything.
    listed = record.get("graph")
    if not isinstance(listed, dict) or not listed.get("nodes"):
        return Graph()
    nodes = listed["nodes"]
    blocks = fold(nodes)
    if blocks is None:
        return Graph()
    return Graph(blocks, cut=len(nodes) >= MAXIMUM_NODES)


def judged_programs(path: Path, wanted: set[str]) -> list[JudgedProgram]:
    """Return the records of some candidates, out of a file of the judge.

    The others stay unread: most of a file are graphs that nobody asks for. It is cut where a record
    begins, on a line of its own as write_json has it; another layout is read whole. Raises
    InputError where the file is not whole.
    """
    parts = _cut_into_records(read_text(path))
    ids = []
    for part in parts:
        if match := RECORD_ID.search(part):
            ids.append(match[1])

    # A part without an id was cut in the wrong place, so the layout is another one.
    if not parts or len(ids) < len(parts):
        records: list[JudgedProgram] = read_json(path, "records")["records"]
        return [record for record in records if record["id"] in wanted]

    chosen = []
    try:
        for part, name in zip(parts, ids):
            if json.loads(name) in wanted:
                record = cast(JudgedProgram, parse_json(f"{{{part}}}"))
                chosen.append(record)
    except ValueError as error:
        raise InputError(f"{path}: not whole JSON ({error}){AGAIN}") from None

    return chosen


def _cut_into_records(text: str) -> list[str]:
    start = text.find(RECORDS_BEGIN)
    end = text.rfind(RECORDS_END)
    if not 0 <= start < end:
        return []
    first = start + len(RECORDS_BEGIN)
    return text[first:end].split(BETWEEN_RECORDS)
