"""The files of a run, written down once: the jobs of a plan, and what the report is made of.

Standard library only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from archloop import layout
from archloop.layout import SEED, Cell
from archloop.settings.chains import (
    FAMILIES,
    MODEL,
    cycles_of,
    effective,
    trains,
    uses_seed_adapter,
)
from archloop.settings.sections import Settings

# Which stage writes the candidates of a chain, by their source; of another chain's designs it is
# transfer.
WRITERS = {MODEL: "generate", FAMILIES: "draw_families"}


@dataclass(frozen=True)
class Job:
    """One planned job: its stage, and the file that it leaves last."""

    chain: str
    cycle: int
    stage: str
    path: Path


def plan(results: Path, settings: Settings) -> list[Job]:
    """Return all jobs of a run from the seed corpus on; none where the folder holds no settings."""
    if "seed_corpus" not in settings:
        return []

    jobs = list(_jobs_of_cycle_zero(results, settings))
    for chain in settings["chains"]:
        if chain == SEED:
            continue

        for cycle in cycles_of(settings, chain):
            jobs += _jobs_of_cycle(results, settings, Cell(chain, cycle))
        index = results / chain / layout.EXPORT
        jobs.append(Job(chain, 0, "export", index))

    page = results / layout.REPORT
    jobs.append(Job("", 0, "report", page))
    return jobs


def _jobs_of_cycle_zero(results: Path, settings: Settings) -> Iterator[Job]:
    folder = Cell(SEED, 0).folder(results)
    yield Job(SEED, 0, "write_seed_programs", folder / layout.LEFT_OUT)
    for path in _evaluations(folder, settings["seed_corpus"]["shards"]):
        yield Job(SEED, 0, "evaluate", path)
    yield Job(SEED, 0, "build_seed_corpus", folder / layout.CORPUS)
    if uses_seed_adapter(settings):
        yield Job(SEED, 0, "finetune", folder / layout.ADAPTER)


def _jobs_of_cycle(results: Path, settings: Settings, cell: Cell) -> Iterator[Job]:
    folder = cell.folder(results)
    shards = effective(settings, "cycle", *cell)["shards"]
    source = settings["chains"][cell.chain]["source"]
    writer = WRITERS.get(source, "transfer")

    if writer == "generate":
        yield Job(*cell, "write_prompts", folder / layout.PROMPTS)
    for shard in range(shards):
        generated = folder / layout.generated(shard)
        yield Job(*cell, writer, generated)
    for path in _evaluations(folder, shards):
        yield Job(*cell, "evaluate", path)
    yield Job(*cell, "admit", folder / layout.CANDIDATES)
    if trains(settings, *cell):
        yield Job(*cell, "finetune", folder / layout.ADAPTER)
    yield Job(*cell, "summarize", folder / layout.SUMMARY)


def report_files(settings: Settings, cells: Iterable[Cell], results: Path) -> list[Path]:
    """Return the files that a report of some cycles is made of, those of cycle 0 first."""
    folder = Cell(SEED, 0).folder(results)
    files = [folder / layout.CORPUS]
    if uses_seed_adapter(settings):
        files.append(folder / layout.TRAINING)
    # The computed graphs of the seed programs.
    files += _evaluations(folder, settings["seed_corpus"]["shards"])

    for cell in cells:
        folder = cell.folder(results)
        for name in (layout.SUMMARY, layout.CANDIDATES, layout.CORPUS):
            files.append(folder / name)
        if trains(settings, *cell):
            files.append(folder / layout.TRAINING)
        shards = effective(settings, "cycle", *cell)["shards"]
        files += _evaluations(folder, shards)
    return files


def _evaluations(folder: Path, shards: int) -> list[Path]:
    return [folder / layout.evaluated(shard) for shard in range(shards)]
