"""The data of the gallery: a list of all admitted designs, and what a person opens of one, packed in small parts.

A part is JSON, compressed and written in base64: it stands in the page as inert text, whatever a program holds, and
only what is looked at is unpacked.
"""

import base64
import gzip
import json

import polars as pl

from archloop.chains import trains
from archloop.report_graph import KINDS, strip
from archloop.report_input import Results
from archloop.texts import visible

PART = 50  # programs packed together


def gallery(results: Results, architectures: pl.DataFrame) -> dict[str, str]:
    """Return name -> packed text: `index` with a column for each fact of the list, and the parts `part-0`, `part-1` ...

    The programs in the parts are in the order of the index's `programs`: all designs, then those seed programs that are
    somebody's nearest neighbour or reference.
    """
    wanted = set(architectures["id"])
    pictures = {name: graph["blocks"] for name, graph in results.graphs.items() if graph["blocks"]}
    corpus = results.corpus.unique("id", keep="first", maintain_order=True)
    rows = {row["id"]: row for row in corpus.filter(pl.col("id").is_in(wanted)).iter_rows(named=True)}
    designs = [row for row in architectures.iter_rows(named=True) if row["id"] in rows]
    shown = {row["nearest_id"] for row in designs}
    shown.update(name for row in rows.values() for name in row["references"] or [])
    others = corpus.filter(pl.col("id").is_in(shown - wanted)).sort("id").to_dicts()
    programs = [_design(row, rows[row["id"]], results.graphs.get(row["id"], {})) for row in designs] + [
        _other(row) for row in others
    ]
    words = sorted({word for picture in pictures.values() for word in _words(picture)})
    places = {word: place for place, word in enumerate(words)}
    fields = ("id", "chain", "rank", "cycle", "accuracy", "parameters", "nearest_id", "nearest_source", "hint")
    index = {name: [row[name] for row in designs] for name in fields}
    index |= {
        "similarity": [_rounded(row["nearest_similarity"]) for row in designs],
        "exact": [bool(row["nearest_exact"]) for row in designs],
        "pareto": [place for place, row in enumerate(designs) if row["pareto"]],
        "strips": [strip(pictures.get(row["id"], [])) for row in designs],
        "words": words,
        "has": [sorted(places[word] for word in _words(pictures.get(row["id"], []))) for row in designs],
        "programs": [row["id"] for row in designs] + [row["id"] for row in others],
        "kinds": KINDS,
        "part": PART,
        "chains": {name: _lineage(results, name) for name in results.chains},
        "seed_training": _training(results, "seed", 0),
    }
    parts = [programs[at : at + PART] for at in range(0, len(programs), PART)]
    return {"index": pack(index)} | {f"part-{number}": pack(part) for number, part in enumerate(parts)}


def pack(value: object) -> str:
    """Return a value as gzipped JSON in base64; equal values give equal text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _design(row: dict, stored: dict, graph: dict) -> dict:
    found = {name: row[name] for name in ("prompt_id", "adapter", "evaluation", "graph_digest")}
    # A seed has more digits than JavaScript keeps.
    found |= {"seed": str(row["seed"])}
    found |= {name: row[name] for name in ("multiply_adds", "accuracy_sd", "test_accuracy")}
    found |= {name: visible(stored[name] or "") for name in ("program", "prompt")}
    found |= {"references": stored["references"] or [], "origin": stored["origin"], "family": stored["family"]}
    return found | {"blocks": graph.get("blocks"), "cut": graph.get("cut", False)}


def _other(row: dict) -> dict:
    return {"program": visible(row["program"]), "family": row["family"], "accuracy": row["accuracy"]}


def _words(picture: list[list]) -> set[str]:
    """Return what a design is made of, as a person would search for it."""
    return {word for label, *_ in picture for word in label.split(" · ") if word != "image"}


def _lineage(results: Results, chain: str) -> dict:
    """Return where a chain starts, which of its cycles make an adapter, and what these were trained on, by cycle."""
    start, _, cycle = results.chains[chain]["start"].partition("/")
    if start in results.chains and not cycle:
        cycle = results.chains[start]["planned"]
    planned = range(1, results.chains[chain]["planned"] + 1)
    made = [number for number in planned if not results.settings or trains(results.settings, chain, number)]
    trained = {number: _training(results, chain, number) for number in results.chains[chain]["cycles"]}
    return {"start": start, "start_cycle": int(cycle or 0), "trains": made, "training": trained}


def _training(results: Results, chain: str, cycle: int) -> dict | None:
    facts = results.training.get((chain, cycle))
    if facts is None:
        return None
    losses = facts.get("losses") or [None]
    return {"pairs": facts.get("pairs"), "loss": losses[-1], "carried_on": facts.get("carried_on")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
