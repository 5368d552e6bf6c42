"""The gallery: cards, a list of all admitted designs, and what a person opens of one, packed in parts.

A part is JSON, compressed and written in base64: it is inert text, whatever a program holds, and
only what is looked at is unpacked. The parts stand in the page; where they are many, in scripts
beside it, which open without a server too.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from archloop.files import write_text
from archloop.layout import SEED, Cell
from archloop.report.graph_drawing import KINDS, Block, strip
from archloop.report.graphs import Graph
from archloop.report.page.cards import Card, cards
from archloop.report.page.designs import listed
from archloop.report.results import Results
from archloop.settings.chains import trains
from archloop.texts import visible

PART = 50  # programs packed together
PARTS_A_FILE = 10  # parts in a script beside the page
MOST_INSIDE = 5_000_000  # characters that the page carries itself
DATA = "data"  # the folder beside the page
# What the list shows of each design, as it is.
COLUMNS = (
    "id",
    "chain",
    "dataset",
    "group",
    "rank",
    "cycle",
    "accuracy",
    "test_accuracy",
    "accuracy_sd",
    "parameters",
    "nearest_id",
    "nearest_source",
    "nearest_accuracy",
    "hint",
    "family",
    "found",
)

Row = dict[str, Any]  # of the list of designs, or of the corpus


@dataclass(frozen=True)
class Gallery:
    """What the page needs.

    packed: texts that stand in it, by name. beside: scripts beside it, by file name. kinds: letter
    of a kind of block -> its name. choices: what the filters offer, by filter.
    """

    cards: list[Card]
    packed: dict[str, str]
    beside: dict[str, str]
    kinds: dict[str, str]
    choices: dict[str, list[str]]


@dataclass(frozen=True)
class Training:
    """What an adapter was trained on, the loss that it ended at, and whether it was kept unchanged."""

    pairs: int | None
    loss: float | None
    carried_on: bool | None


@dataclass(frozen=True)
class Lineage:
    """Where a chain starts, and which of its cycles make an adapter; training: of what, by cycle."""

    start: str
    start_cycle: int
    trains: list[int]
    training: dict[int, Training | None]


def gallery(results: Results, architectures: pl.DataFrame) -> Gallery:
    """Return the gallery of a report. architectures: the table of that name."""
    rows = listed(results, architectures)
    inside, beside = apart(_packed(results, rows))
    choices = {
        "dataset": rows["dataset"].drop_nulls().unique(maintain_order=True).to_list(),
        "group": rows["group"].drop_nulls().unique(maintain_order=True).to_list(),
        "family": rows["family"].drop_nulls().unique().sort().to_list(),
    }

    # Images and what is none of the other kinds need no word.
    kinds = {letter: word for letter, word in KINDS.items() if letter not in ("i", "n")}
    return Gallery(cards(results, rows), inside, beside, kinds, choices)


def apart(packed: dict[str, str], most: int = MOST_INSIDE) -> tuple[dict[str, str], dict[str, str]]:
    """Return (what stands in the page, the scripts beside it by file name).

    All stands in the page where that is not too much. A script hands its parts over by a function
    of the page: from a page that was opened as a file, nothing else of the folder may be read.
    """
    if sum(map(len, packed.values())) <= most:
        return packed, {}
    parts = [name for name in packed if name.startswith("part-")]

    files = {}
    for number, start in enumerate(range(0, len(parts), PARTS_A_FILE)):
        held = {name: packed[name] for name in parts[start : start + PARTS_A_FILE]}
        files[f"parts-{number}.js"] = f"keepParts({json.dumps(held)});\n"

    return {name: text for name, text in packed.items() if name not in parts}, files


def write_beside(beside: dict[str, str], folder: Path) -> list[Path]:
    """Write the scripts beside the page and return them; those of an earlier report go."""
    for path in folder.glob("parts-*.js"):
        if path.name not in beside:
            path.unlink()

    for name, text in beside.items():
        write_text(folder / name, text)
    return [folder / name for name in beside]


def _packed(results: Results, rows: pl.DataFrame) -> dict[str, str]:
    """Return name -> packed text: `index` with a column for all that the list shows, and the parts.

    They are `part-0`, `part-1` ... Their programs are in the order of the index's `programs`: all
    designs, then those other programs that are somebody's nearest neighbour or reference, the seed
    programs among them.
    """
    designs = rows.to_dicts()
    corpus = results.corpus.unique("id", keep="first", maintain_order=True)
    of_designs = corpus.filter(pl.col("id").is_in(rows["id"].implode()))
    stored = {row["id"]: row for row in of_designs.to_dicts()}

    shown = {row["nearest_id"] for row in designs}
    for row in stored.values():
        shown.update(row["references"] or [])
    others = corpus.filter(pl.col("id").is_in(shown - set(stored))).sort("id").to_dicts()

    programs = []
    for row in designs:
        programs.append(_design(row, stored[row["id"]], results.graphs.get(row["id"], Graph())))
    for row in others:
        program = visible(row["program"])
        programs.append({"program": program, **_graph(results.graphs.get(row["id"], Graph()))})

    packed = {"index": pack(_index(results, rows, others))}
    for number, start in enumerate(range(0, len(programs), PART)):
        packed[f"part-{number}"] = pack(programs[start : start + PART])
    return packed


def _index(results: Results, rows: pl.DataFrame, others: list[Row]) -> dict[str, Any]:
    """Return what the list shows. others: programs of the corpus that are no design."""
    designs = rows.to_dicts()
    blocks = [results.blocks(row["id"]) for row in designs]
    made_of = list(map(_words, blocks))
    words = sorted(set().union(*made_of))
    position = dict(zip(words, range(len(words))))

    has = []
    for found in made_of:
        has.append(sorted(position[word] for word in found))

    lines = {}
    for row in others:
        lines[row["id"]] = [row["family"], row["accuracy"], strip(results.blocks(row["id"]))]

    index: dict[str, Any] = {name: rows[name].to_list() for name in COLUMNS}
    return index | {
        "similarity": list(map(_rounded, rows["nearest_similarity"])),
        "exact": rows["nearest_exact"].fill_null(False).to_list(),
        "front": rows["front"].arg_true().to_list(),
        "strips": list(map(strip, blocks)),
        "words": words,
        "has": has,
        "others": lines,
        "programs": [row["id"] for row in (*designs, *others)],
        "kinds": KINDS,
        "part": PART,
        "parts_a_file": PARTS_A_FILE,
        "chains": {name: asdict(_lineage(results, name)) for name in results.chains},
        "seed_training": _as_json(_training(results, Cell(SEED, 0))),
    }


def pack(value: object) -> str:
    """Return a value as gzipped JSON in base64; equal values give equal text."""
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False
    )
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _design(row: Row, stored: Row, graph: Graph) -> dict[str, Any]:
    """Return what opens of a design. row: of the list. stored: of the corpus."""
    return {
        "prompt_id": row["prompt_id"],
        "adapter": row["adapter"],
        "evaluation": row["evaluation"],
        "multiply_adds": row["multiply_adds"],
        # It has more digits than JavaScript keeps of a number.
        "seed": str(row["seed"]),
        "program": visible(stored["program"] or ""),
        "prompt": visible(stored["prompt"] or ""),
        "references": stored["references"] or [],
        "origin": stored["origin"],
        "drawn_from": stored["family"],
        **_graph(graph),
    }


def _graph(graph: Graph) -> dict[str, Any]:
    return {"blocks": graph.blocks, "cut": graph.cut}


def _words(picture: Sequence[Block]) -> set[str]:
    """Return what a design is made of, as a person would search for it."""
    words: set[str] = set()
    for block in picture:
        words.update(block.label.split(" · "))
    return words - {"image"}


def _lineage(results: Results, name: str) -> Lineage:
    chain = results.chains[name]
    start, _, cycle = chain.start.partition("/")
    start_cycle = int(cycle or 0)
    if start in results.chains and not cycle:
        start_cycle = results.chains[start].planned

    planned, settings = range(1, chain.planned + 1), results.settings
    return Lineage(
        start=start,
        start_cycle=start_cycle,
        trains=[number for number in planned if not settings or trains(settings, name, number)],
        training={number: _training(results, Cell(name, number)) for number in chain.cycles},
    )


def _training(results: Results, cell: Cell) -> Training | None:
    record = results.training.get(cell)
    if record is None:
        return None

    losses = record.get("losses")
    return Training(
        pairs=record.get("pairs"),
        loss=losses[-1] if losses else None,
        carried_on=record.get("carried_on"),
    )


def _as_json(training: Training | None) -> dict[str, Any] | None:
    return asdict(training) if training else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
