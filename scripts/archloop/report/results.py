"""What the report is made of: everything that a results folder holds so far, finished or not."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from archloop.corpus.tables import CANDIDATES, read_candidates, read_corpus
from archloop.errors import InputError
from archloop.files import AGAIN, parse_json, read_json, read_text
from archloop.layout import PAGE, SETTINGS_FILE
from archloop.report.graph_drawing import blocks
from archloop.report.parts import PAGE_PARTS, VERIFIED
from archloop.report.summarize import summarize
from archloop.settings.chains import SEED, effective, trains, uses_seed_adapter

# Columns of the candidates that no table and no picture needs; `programs` reads the few that the page shows.
HEAVY = ("raw", "prompt", "signature", "program", "protocol", "references")
STAGES = {"generated": "generate", "evaluated": "evaluate", "adapter": "finetune"}
NOVELTY = {"gate": "either", "threshold": 0.9}
LISTED_NODES = 500  # of a graph, by graph.py
RECORDS_BEGIN, BETWEEN_RECORDS, RECORDS_END = '"records": [\n  {\n', "\n  },\n  {\n", "\n  }\n ]"
RECORD_ID = re.compile(r'^   "id": ("(?:[^"\\]|\\.)*")', re.MULTILINE)
CYCLE_FOLDER = re.compile(r"cycle-([1-9]\d*)")


@dataclass(frozen=True)
class Results:
    """Everything that is there. chains: name -> dataset, start, source, planned, cycles (with a verdict)."""

    folder: Path
    settings: dict  # complete settings, or {} when the folder does not say
    chains: dict[str, dict]
    summaries: list[dict]
    candidates: pl.DataFrame
    corpus: pl.DataFrame  # the seed corpus and all shards
    runs: list[dict]  # one a job: chain, cycle, stage, and its run record
    training: dict[tuple[str, int], dict]
    # Of the admitted and the seeds: blocks of the computed graph (None without), and whether they are cut.
    graphs: dict[str, dict]
    verified: dict | None = None  # what verify.py --note left

    @property
    def finished(self) -> bool:
        return self.unfinished is None

    @property
    def unfinished(self) -> str | None:
        """Which cycles of the first chain that lacks some are not finished, in words; None where all are."""
        for name, chain in self.chains.items():
            left = sorted(set(range(1, chain["planned"] + 1)) - set(chain["cycles"]))
            if len(left) > 1:
                return f"{len(left)} cycles of {name} ({left[0]} to {left[-1]}) are not finished"
            if left:
                return f"cycle {left[0]} of {name} is not finished"
        return None

    def novelty(self, chain: str, cycle: int) -> dict:
        """Return the gate and threshold that a cycle was judged with."""
        return effective(self.settings, "novelty", chain, cycle) if self.settings else NOVELTY


def read_all(folder: Path, settings: dict | None = None) -> Results:
    """Read what there is in a results folder.

    settings: complete ones; None takes those that the last run left there, and without them the chains are those whose
    folders are found. Raises InputError when no cycle has a verdict yet, or when a file is broken.
    """
    if settings is None:
        settings = read_json(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).is_file() else {}
    chains = _chains(folder, settings)
    cells = [(chain, cycle) for chain, facts in chains.items() for cycle in facts["cycles"]]
    if not cells:
        raise InputError(f"{folder}: no cycle is finished yet (there is no candidates.parquet)")
    places = [folder / chain / f"cycle-{cycle}" for chain, cycle in cells]
    light = [name for name in CANDIDATES if name not in HEAVY]
    candidates = read_candidates([place / "candidates.parquet" for place in places], light)
    seed = folder / "seed" / "corpus.parquet"
    shards = [path for place in places if (path := place / "corpus.parquet").is_file()]
    found = {cell: place / "summary.json" for cell, place in zip(cells, places)}
    summaries = {cell: read_json(path) for cell, path in found.items() if path.is_file()}
    made = [cell for cell in cells if not settings or trains(settings, *cell)]
    training = {
        cell: folder / cell[0] / f"cycle-{cell[1]}" / "adapter" / "training.json" for cell in made
    }
    training[("seed", 0)] = folder / "seed" / "adapter" / "training.json"
    for cell in cells:
        if cell not in summaries:
            cell_candidates = candidates.filter(chain=cell[0], cycle=cell[1])
            unknown = {"carried_on": False, "pairs": None}
            threshold = _threshold(settings, summaries, *cell)
            summaries[cell] = summarize(
                cell_candidates, unknown, threshold, *cell, chains[cell[0]]["dataset"]
            )
    corpus = read_corpus([seed] * seed.is_file() + shards)
    admitted = set(corpus["id"]) | set(candidates.filter(outcome="admitted")["id"])
    return Results(
        folder=folder,
        settings=settings,
        chains=chains,
        summaries=[summaries[cell] for cell in cells],
        candidates=candidates,
        corpus=corpus,
        runs=[
            record
            for chain in (SEED, *chains)
            for record in _run_records(folder, chain)
            # An adapter of a cycle that makes none any more is of an earlier run.
            if record["stage"] != "finetune" or chain == SEED or (chain, record["cycle"]) in made
        ],
        training={cell: read_json(path) for cell, path in training.items() if path.is_file()},
        graphs={
            name: facts
            for place in (folder / SEED, *places)
            for name, facts in _graphs(place / "evaluated", admitted)
        },
        verified=read_json(folder / VERIFIED, "said", "findings", "candidates")
        if (folder / VERIFIED).is_file()
        else None,
    )


def programs(results: Results, ids: set[str]) -> dict[str, str]:
    """Return id -> program of some candidates, read from the files of their cycles alone."""
    places = (
        results.candidates.filter(pl.col("id").is_in(ids))
        .select("chain", "cycle")
        .unique()
        .sort("chain", "cycle")
    )
    paths = [
        results.folder / chain / f"cycle-{cycle}" / "candidates.parquet"
        for chain, cycle in places.iter_rows()
    ]
    found = read_candidates(paths, ["id", "program"]) if paths else None
    return {} if found is None else dict(found.filter(pl.col("id").is_in(ids)).iter_rows())


def sources(results: Results) -> list[Path]:
    """Return the files that the whole report of a run is made of, those of the page too, as its rule declares them."""
    settings, found = results.settings, [results.folder / SEED / "corpus.parquet"]
    found += (
        [results.folder / SEED / "adapter" / "training.json"]
        if settings and uses_seed_adapter(settings)
        else []
    )
    shards = settings["seed_corpus"]["shards"] if settings else 0
    found += [results.folder / SEED / "evaluated" / f"{shard}.json" for shard in range(shards)]
    for chain, facts in results.chains.items():
        for cycle in facts["cycles"] if settings else ():
            names = ["summary.json", "candidates.parquet", "corpus.parquet"]
            names += ["adapter/training.json"] if trains(settings, chain, cycle) else []
            shards = effective(settings, "cycle", chain, cycle)["shards"]
            names += [f"evaluated/{shard}.json" for shard in range(shards)]
            found += [results.folder / chain / f"cycle-{cycle}" / name for name in names]
    found += [Path(os.path.relpath(PAGE / name)) for name in PAGE_PARTS]
    return [path for path in found if path.is_file()]


def _chains(folder: Path, settings: dict) -> dict[str, dict]:
    """Return the chains: each after what it builds on, then those of the language model first, `main`, then by name."""
    known = {name: chain for name, chain in settings.get("chains", {}).items() if name != "seed"}
    if not known:
        names = sorted(
            {path.parent.parent.name for path in folder.glob("*/cycle-*/candidates.parquet")}
        )
        known = {name: {} for name in names}
    chains = {}

    def rank(name: str) -> tuple:
        return (
            _depth(known, name),
            known[name].get("source", "model") != "model",
            name != "main",
            name,
        )

    for name in sorted(known, key=rank):
        chain = known[name]
        done = sorted(
            int(match[1])
            for path in (folder / name).glob("cycle-*/candidates.parquet")
            if (match := CYCLE_FOLDER.fullmatch(path.parent.name))
        )
        planned = chain.get("cycles", max(done, default=0))
        cycles = [cycle for cycle in done if cycle <= planned]
        chains[name] = {"start": chain.get("start", SEED), "planned": planned, "cycles": cycles}
        chains[name]["source"] = chain.get("source", "model")
        dataset = chain.get("dataset") or _dataset(folder / name, cycles)
        own_name = settings["data"].get("folder_name") if dataset == "folder" and settings else None
        chains[name]["dataset"] = own_name or dataset
    return chains


def _depth(chains: dict[str, dict], name: str) -> int:
    parents = {str(chains[name].get(key)).partition("/")[0] for key in ("start", "source")}
    return max((1 + _depth(chains, parent) for parent in parents if parent in chains), default=0)


def _dataset(folder: Path, cycles: list[int]) -> str:
    if not cycles:
        return "?"
    return read_candidates([folder / f"cycle-{cycles[0]}" / "candidates.parquet"], ["dataset"])[
        "dataset"
    ][0]


def _threshold(settings: dict, summaries: dict, chain: str, cycle: int) -> float:
    """Return the accuracy that admits in a cycle whose summary is not written yet."""
    for (other, _), summary in summaries.items():
        if other == chain:
            return summary["at_threshold"]["threshold"]
    admission = effective(settings, "admission", chain, cycle) if settings else {"threshold": 0.4}
    if admission.get("relative_to_chance"):
        raise InputError(
            f"chain {chain}: no summary of any cycle yet, and its threshold counts from the chance level"
        )
    return admission["threshold"]


def _run_records(folder: Path, chain: str) -> list[dict]:
    places = [(0, folder / "seed")] if chain == "seed" else []
    for place in (folder / chain).glob("cycle-*"):
        match = CYCLE_FOLDER.fullmatch(place.name)
        places += [(int(match[1]), place)] if match else []
    records = []
    for cycle, place in sorted(places):
        for kind, stage in STAGES.items():
            paths = (
                [place / kind / "run.json"]
                if kind == "adapter"
                else sorted((place / kind).glob("*.run.json"))
            )
            for path in paths:
                if path.is_file():
                    records.append(
                        read_json(path, "seconds")
                        | {"chain": chain, "cycle": cycle, "stage": stage}
                    )
    return records


def _graphs(folder: Path, admitted: set[str]) -> Iterator[tuple[str, dict]]:
    """Yield the computed graphs of the admitted, folded at once: listed as the judge does they are large."""
    for path in sorted(folder.glob("*.json")):
        for record in () if path.name.endswith(".run.json") else _records(path, admitted):
            graph = record.get("graph")
            nodes = graph.get("nodes") if isinstance(graph, dict) else None
            found = blocks(nodes) if nodes else None
            yield (
                record["id"],
                {"blocks": found, "cut": found is not None and len(nodes) >= LISTED_NODES},
            )


def _records(path: Path, wanted: set[str]) -> list[dict]:
    """Return the records of some candidates, the others unread: most of a file are graphs that nobody asks for.

    The file is cut where a record begins, on a line of its own as write_json has it; another layout is read whole.
    """
    text = read_text(path)
    start, end = text.find(RECORDS_BEGIN), text.rfind(RECORDS_END)
    parts = (
        text[start + len(RECORDS_BEGIN) : end].split(BETWEEN_RECORDS) if 0 <= start < end else []
    )
    names = [RECORD_ID.search(part) for part in parts]
    if not parts or not all(names):
        return [
            record for record in read_json(path, "records")["records"] if record["id"] in wanted
        ]
    try:
        chosen = [part for part, name in zip(parts, names) if json.loads(name[1]) in wanted]
        return [parse_json(f"{{{part}}}") for part in chosen]
    except ValueError as error:
        raise InputError(f"{path}: not whole JSON ({error}){AGAIN}") from None
