"""The gallery: cards, a list of all admitted designs, and what a person opens of one, packed in small parts.

A part is JSON, compressed and written in base64: it is inert text, whatever a program holds, and only what is looked at
is unpacked. The parts stand in the page; where they are many, in scripts beside it, which open without a server too.
"""

import base64
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from archloop.files import write_text
from archloop.report.graph_drawing import KINDS, strip
from archloop.report.page.cards import cards
from archloop.report.page.designs import listed
from archloop.report.results import Results
from archloop.settings.chains import trains
from archloop.texts import visible

PART, PARTS_A_FILE = 50, 10  # programs packed together, and parts in a script beside the page
MOST_INSIDE = 5_000_000  # characters that the page carries itself
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
)
COLUMNS += ("nearest_id", "nearest_source", "nearest_accuracy", "hint", "family", "found")
DATA = "data"  # the folder beside the page


@dataclass(frozen=True)
class Gallery:
    """What the page needs: the cards, packed texts by name, scripts beside it by file name, choices for filters."""

    cards: list[dict]
    packed: dict[str, str]
    beside: dict[str, str]
    kinds: dict[str, str]
    choices: dict[str, list[str]]


def gallery(results: Results, architectures: pl.DataFrame) -> Gallery:
    """Return the gallery of a report. architectures: the table of that name."""
    rows = listed(results, architectures)
    packed = _packed(results, rows)
    inside, beside = apart(packed)
    kinds = {name: word for name, word in KINDS.items() if name not in "in"}
    choices = {
        name: rows[name].drop_nulls().unique(maintain_order=True).to_list()
        for name in ("dataset", "group")
    }
    choices["family"] = rows["family"].drop_nulls().unique().sort().to_list()
    return Gallery(cards(results, rows), inside, beside, kinds, choices)


def apart(packed: dict[str, str], most: int = MOST_INSIDE) -> tuple[dict[str, str], dict[str, str]]:
    """Return (what stands in the page, the scripts beside it by file name): all in the page where that is not too much.

    A script hands its parts over by a function of the page: from a page that was opened as a file, nothing else of the
    folder may be read.
    """
    parts = [name for name in packed if name.startswith("part-")]
    if sum(map(len, packed.values())) <= most:
        return packed, {}
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
    """Return name -> packed text: `index` with a column for each fact of the list, and the parts `part-0`, `part-1` ...

    The programs in the parts are in the order of the index's `programs`: all designs, then those other programs that
    are somebody's nearest neighbour or reference, the seed programs among them.
    """
    designs = rows.to_dicts()
    wanted = set(rows["id"])
    corpus = results.corpus.unique("id", keep="first", maintain_order=True)
    stored = {
        row["id"]: row for row in corpus.filter(pl.col("id").is_in(wanted)).iter_rows(named=True)
    }
    shown = {row["nearest_id"] for row in designs}
    shown.update(name for row in stored.values() for name in row["references"] or [])
    others = corpus.filter(pl.col("id").is_in(shown - wanted)).sort("id").to_dicts()
    graphs = results.graphs
    pictures = {
        row["id"]: (graphs.get(row["id"]) or {}).get("blocks") or [] for row in designs + others
    }
    words = sorted({word for row in designs for word in _words(pictures[row["id"]])})
    places = {word: place for place, word in enumerate(words)}
    index = {name: rows[name].to_list() for name in COLUMNS}
    index |= {
        "similarity": [_rounded(row["nearest_similarity"]) for row in designs],
        "exact": [bool(row["nearest_exact"]) for row in designs],
        "front": [place for place, row in enumerate(designs) if row["front"]],
        "strips": [strip(pictures[row["id"]]) for row in designs],
        "words": words,
        "has": [sorted(places[word] for word in _words(pictures[row["id"]])) for row in designs],
        "others": {
            row["id"]: [row["family"], row["accuracy"], strip(pictures[row["id"]])]
            for row in others
        },
        "programs": [row["id"] for row in designs + others],
        "kinds": KINDS,
        "part": PART,
        "parts_a_file": PARTS_A_FILE,
        "chains": {name: _lineage(results, name) for name in results.chains},
        "seed_training": _training(results, "seed", 0),
    }
    programs = [_design(row, stored[row["id"]], graphs.get(row["id"], {})) for row in designs]
    programs += [_other(row, graphs.get(row["id"], {})) for row in others]
    parts = [programs[at : at + PART] for at in range(0, len(programs), PART)]
    return {"index": pack(index)} | {
        f"part-{number}": pack(part) for number, part in enumerate(parts)
    }


def pack(value: object) -> str:
    """Return a value as gzipped JSON in base64; equal values give equal text."""
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False
    )
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _design(row: dict, stored: dict, graph: dict) -> dict:
    found = {name: row[name] for name in ("prompt_id", "adapter", "evaluation", "multiply_adds")}
    # A seed has more digits than JavaScript keeps.
    found |= {"seed": str(row["seed"])}
    found |= {name: visible(stored[name] or "") for name in ("program", "prompt")}
    found |= {
        "references": stored["references"] or [],
        "origin": stored["origin"],
        "drawn_from": stored["family"],
    }
    return found | {"blocks": graph.get("blocks"), "cut": graph.get("cut", False)}


def _other(row: dict, graph: dict) -> dict:
    return {
        "program": visible(row["program"]),
        "blocks": graph.get("blocks"),
        "cut": graph.get("cut", False),
    }


def _words(picture: list[list]) -> set[str]:
    """Return what a design is made of, as a person would search for it."""
    return {word for label, *_ in picture for word in label.split(" · ") if word != "image"}


def _lineage(results: Results, chain: str) -> dict:
    """Return where a chain starts, which of its cycles make an adapter, and what these were trained on, by cycle."""
    start, _, cycle = results.chains[chain]["start"].partition("/")
    if start in results.chains and not cycle:
        cycle = results.chains[start]["planned"]
    planned = range(1, results.chains[chain]["planned"] + 1)
    made = [
        number
        for number in planned
        if not results.settings or trains(results.settings, chain, number)
    ]
    trained = {
        number: _training(results, chain, number) for number in results.chains[chain]["cycles"]
    }
    return {"start": start, "start_cycle": int(cycle or 0), "trains": made, "training": trained}


def _training(results: Results, chain: str, cycle: int) -> dict | None:
    facts = results.training.get((chain, cycle))
    if facts is None:
        return None
    losses = facts.get("losses") or [None]
    return {"pairs": facts.get("pairs"), "loss": losses[-1], "carried_on": facts.get("carried_on")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
