"""What the report is made of: everything that a results folder holds so far, finished or not."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import polars as pl

from archloop import layout
from archloop.corpus.tables import CANDIDATES, read_candidates, read_corpus
from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import PAGE, SETTINGS_FILE, Cell, cells_with
from archloop.report.graph_drawing import GraphBlock
from archloop.report.graphs import Graph, read_graphs
from archloop.report.job_records import JobRecord, read_job_records
from archloop.report.parts import PAGE_PARTS, VERIFIED
from archloop.report.summarize import Summary, TrainingRecord, read_training, summarize
from archloop.settings.chains import (
    MODEL,
    SECTIONS,
    SEED,
    effective,
    trains,
)
from archloop.settings.planned_files import report_files
from archloop.settings.sections import ChainSettings, Settings

# Columns of the candidates that no table and no figure needs; `programs` reads the few that the
# page shows.
HEAVY = ("raw", "prompt", "signature", "program", "protocol", "references")
# The threshold of admission and of the gate where a folder does not say what they were.
ADMISSION_THRESHOLD = 0.4
COPY_THRESHOLD = 0.9


@dataclass(frozen=True)
class Chain:
    """A chain of a run: its data set, where it starts from, who writes its candidates, its cycles.

    cycles: the numbers of those that have a verdict, of `planned` ones.
    """

    dataset: str
    start: str
    source: str
    planned: int
    cycles: list[int]

    @property
    def left(self) -> list[int]:
        """The cycles that are planned and not finished."""
        return sorted(set(range(1, self.planned + 1)) - set(self.cycles))


@dataclass(frozen=True)
class CopyRule:
    """What counts as a copy in a cycle: a similarity of `threshold`, an equal graph, or both."""

    threshold: float
    by_text: bool
    by_graph: bool


class Verified(TypedDict):
    """What `verify.py --note` left: what it looked at, in words, and how many findings it has."""

    said: str
    findings: int
    candidates: int


@dataclass(frozen=True)
class Results:
    """Everything that is there.

    settings: complete ones, or {} when the folder does not say. corpus: the seed corpus and what
    every cycle admitted. graphs: of the admitted and the seeds.
    """

    folder: Path
    settings: Settings
    chains: dict[str, Chain]
    summaries: list[Summary]
    candidates: pl.DataFrame
    corpus: pl.DataFrame
    jobs: list[JobRecord]
    training: dict[Cell, TrainingRecord]
    graphs: dict[str, Graph]
    verified: Verified | None = None

    def cells(self) -> Iterator[Cell]:
        """Yield the cycles that have their outcomes, chain by chain."""
        for name, chain in self.chains.items():
            for cycle in chain.cycles:
                yield Cell(name, cycle)

    @property
    def finished(self) -> bool:
        return self.unfinished is None

    @property
    def unfinished(self) -> str | None:
        """Which cycles of the first chain that lacks some are not finished, in words."""
        for name, chain in self.chains.items():
            left = chain.left
            if len(left) > 1:
                return f"{len(left)} cycles of {name} ({left[0]} to {left[-1]}) are not finished"
            if left:
                return f"cycle {left[0]} of {name} is not finished"
        return None

    @property
    def random_seed(self) -> int:
        return self.settings.get("random_seed", 0)

    def copy_rule(self, chain: str, cycle: int) -> CopyRule:
        """Return what a cycle's gate calls a copy; where nothing gates, either measure tells."""
        if not self.settings:
            return CopyRule(COPY_THRESHOLD, by_text=True, by_graph=True)
        novelty = effective(self.settings, "novelty", chain, cycle)
        gate = novelty["gate"]
        return CopyRule(novelty["threshold"], by_text=gate != "graph", by_graph=gate != "text")

    def blocks(self, design: str) -> list[GraphBlock]:
        """Return the blocks of a design's computed graph; none where it is not known."""
        return self.graphs.get(design, Graph()).blocks or []


def read_results(folder: Path, settings: Settings | None = None) -> Results:
    """Read what there is in a results folder.

    settings: complete ones; None takes those that the last run left there, and without them the
    chains are those whose folders are found. Raises InputError when no cycle has a verdict yet, or
    when a file is broken.
    """
    if settings is None:
        path = folder / SETTINGS_FILE
        settings = _read_settings(path) if path.is_file() else {}

    chains = read_chains(folder, settings)
    cells = []
    for name, chain in chains.items():
        cells += [Cell(name, cycle) for cycle in chain.cycles]
    if not cells:
        raise InputError(f"{folder}: no cycle is finished yet (there is no candidates.parquet)")

    paths = [cell.folder(folder) for cell in cells]
    light = [name for name in CANDIDATES if name not in HEAVY]
    candidates = read_candidates([path / layout.CANDIDATES for path in paths], light)

    corpora = [path / layout.CORPUS for path in (folder / SEED, *paths)]
    corpus = read_corpus(_existing(corpora))
    admitted = set(corpus["id"]) | set(candidates.filter(outcome="admitted")["id"])

    graphs: dict[str, Graph] = {}
    for path in (folder / SEED, *paths):
        graphs.update(read_graphs(path / layout.EVALUATED, admitted))

    # Without settings nobody knows which cycles train, so whatever is there counts.
    trained = {cell for cell in cells if not settings or trains(settings, *cell)}
    verified = folder / VERIFIED

    return Results(
        folder=folder,
        settings=settings,
        chains=chains,
        summaries=_summaries(folder, settings, chains, cells, candidates),
        candidates=candidates,
        corpus=corpus,
        jobs=_jobs(folder, chains, trained),
        training=_training(folder, [cell for cell in cells if cell in trained]),
        graphs=graphs,
        verified=_verified(verified) if verified.is_file() else None,
    )


def _read_settings(path: Path) -> Settings:
    """Return the settings that a run left; raise InputError for those of another version."""
    settings = read_json(path, "chains")
    for section in SECTIONS:
        if section not in settings:
            raise InputError(
                f"{path}: lacks the section {section}, so another version of this project wrote it;"
                " make the report with that version"
            )

    return cast(Settings, settings)


def programs(results: Results, ids: set[str]) -> dict[str, str]:
    """Return id -> program of some candidates, read from the files of their cycles alone."""
    wanted = pl.col("id").is_in(ids)
    cells = results.candidates.filter(wanted).select("chain", "cycle").unique()
    paths = [
        Cell(*row).folder(results.folder) / layout.CANDIDATES
        for row in cells.sort("chain", "cycle").iter_rows()
    ]
    rows = read_candidates(paths, ["id", "program"])
    return dict(rows.filter(wanted).iter_rows())


def sources(results: Results) -> list[Path]:
    """Return the files that the whole report of a run is made of, as its rule declares them.

    Those that the page is made of are among them.
    """
    if results.settings:
        files = report_files(results.settings, results.cells(), results.folder)
    else:
        files = [results.folder / SEED / layout.CORPUS]
    files += [Path(os.path.relpath(PAGE / name)) for name in PAGE_PARTS]
    return _existing(files)


def read_chains(folder: Path, settings: Settings) -> dict[str, Chain]:
    """Return the chains with their cycles that have a verdict.

    Each comes after what it builds on, then those of the language model first, `main`, then by
    name.
    """
    known = dict(settings.get("chains", {}))
    known.pop(SEED, None)
    if not known:
        known = {cell.chain: {} for cell in cells_with(folder, layout.CANDIDATES)}

    def rank(name: str) -> tuple[int, bool, bool, str]:
        other_writer = known[name].get("source", MODEL) != MODEL
        return _depth(known, name), other_writer, name != "main", name

    chains = {}
    for name in sorted(known, key=rank):
        chain = known[name]
        judged = [cell.cycle for cell in cells_with(folder, layout.CANDIDATES, name)]
        planned = chain.get("cycles", max(judged, default=0))
        cycles = [cycle for cycle in judged if cycle <= planned]
        dataset = chain.get("dataset") or _dataset(folder, name, cycles)
        if dataset == "folder" and settings:
            dataset = settings["data"].get("folder_name") or dataset
        chains[name] = Chain(
            dataset=dataset,
            start=chain.get("start", SEED),
            source=chain.get("source", MODEL),
            planned=planned,
            cycles=cycles,
        )

    return chains


def _depth(chains: Mapping[str, ChainSettings], name: str) -> int:
    """Return how many chains a chain builds on, one on the other."""
    depth = 0
    for key in ("start", "source"):
        parent = str(chains[name].get(key)).partition("/")[0]
        if parent in chains:
            depth = max(depth, 1 + _depth(chains, parent))

    return depth


def _dataset(folder: Path, chain: str, cycles: list[int]) -> str:
    """Return the data set that a chain's first candidates were judged on."""
    if not cycles:
        return "?"
    path = Cell(chain, cycles[0]).folder(folder) / layout.CANDIDATES
    name: str = read_candidates([path], ["dataset"])["dataset"][0]
    return name


def _summaries(
    folder: Path,
    settings: Settings,
    chains: dict[str, Chain],
    cells: list[Cell],
    candidates: pl.DataFrame,
) -> list[Summary]:
    """Return the summary of every cycle; one not written yet is made from its candidates."""
    summaries: dict[Cell, Summary] = {}
    for cell in cells:
        path = cell.folder(folder) / layout.SUMMARY
        if path.is_file():
            summaries[cell] = cast(Summary, read_json(path, *Summary.__annotations__))

    for cell in cells:
        if cell not in summaries:
            rows = candidates.filter(chain=cell.chain, cycle=cell.cycle)
            # Nothing is known yet of its adapter.
            training = TrainingRecord(carried_on=False, pairs=None)
            threshold = _threshold(settings, summaries, cell)
            dataset = chains[cell.chain].dataset
            summaries[cell] = summarize(rows, training, threshold, *cell, dataset)

    return [summaries[cell] for cell in cells]


def _threshold(settings: Settings, summaries: dict[Cell, Summary], cell: Cell) -> float:
    """Return the accuracy that admits in a cycle whose summary is not written yet."""
    for other, summary in summaries.items():
        if other.chain == cell.chain:
            return summary["at_threshold"]["threshold"]

    if not settings:
        return ADMISSION_THRESHOLD

    admission = effective(settings, "admission", *cell)
    if admission.get("relative_to_chance"):
        raise InputError(
            f"chain {cell.chain}: no summary of any cycle yet, and its threshold counts from the"
            " chance level"
        )
    threshold: float = admission["threshold"]
    return threshold


def _jobs(folder: Path, chains: dict[str, Chain], trained: set[Cell]) -> list[JobRecord]:
    jobs = []
    for name in (SEED, *chains):
        for job in read_job_records(folder, name):
            # An adapter of a cycle that makes none any more is of an earlier run.
            current = job.stage != "finetune" or name == SEED or Cell(name, job.cycle) in trained
            if current:
                jobs.append(job)

    return jobs


def _training(folder: Path, trained: list[Cell]) -> dict[Cell, TrainingRecord]:
    records: dict[Cell, TrainingRecord] = {}
    for cell in (*trained, Cell(SEED, 0)):
        path = cell.folder(folder) / layout.TRAINING
        if path.is_file():
            records[cell] = read_training(path)

    return records


def _verified(path: Path) -> Verified:
    note = read_json(path, "said", "findings", "candidates")
    return Verified(
        said=note["said"],
        findings=note["findings"],
        candidates=note["candidates"],
    )


def _existing(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.is_file()]
