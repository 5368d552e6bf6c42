"""Whether the numbers of a cycle agree, from its prompts to its summary, its seeds and adapter."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from archloop.corpus.tables import read_candidates, read_corpus
from archloop.files import read_json, read_jsonl
from archloop.layout import (
    ADAPTER,
    CANDIDATES,
    CORPUS,
    EVALUATED,
    GENERATED,
    PROMPTS,
    SEED,
    SUMMARY,
    Cell,
)
from archloop.outcomes import count_outcomes
from archloop.random_seeds import derive
from archloop.settings.chains import MODEL, adapter_after
from archloop.tools.results_folder import ResultsFolder
from archloop.tools.verify_settings import seed_of


@dataclass(frozen=True)
class Prompt:
    """What is read of a prompt: the id of its candidate, its index, the seed of its answer."""

    id: str
    index: int
    seed: int


def check_cycle(folder: ResultsFolder, cell: Cell) -> None:
    """Check the files of a cycle against its candidates.parquet, and that against the run."""
    cycle_folder = cell.folder(folder.results)
    table = folder.read(cycle_folder / CANDIDATES, lambda path: read_candidates([path]))
    shard = folder.read(cycle_folder / CORPUS, lambda path: read_corpus([path], ["id"]))
    chains = folder.settings.get("chains", {})
    settings = chains.get(cell.chain)
    asks_model = settings is None or settings["source"] == MODEL
    prompts = folder.read(cycle_folder / PROMPTS, _prompts) if asks_model else []
    if table is None or shard is None or prompts is None:
        return

    folder.counts["candidates"] += table.height
    ids = sorted(table["id"])
    _check_shards(folder, cycle_folder, ids)
    prompted = sorted(prompt.id for prompt in prompts)
    if asks_model and prompted != ids:
        what = f"{len(prompted)} prompts for {len(ids)} candidates"
        folder.say("wrong", cycle_folder / PROMPTS, what)
    admitted = table.filter(outcome="admitted")
    if sorted(shard["id"]) != sorted(admitted["id"]):
        folder.say(
            "wrong",
            cycle_folder / CORPUS,
            "other programs than candidates.parquet has as admitted",
        )

    _check_summary(folder, cycle_folder, table)
    if settings is not None and asks_model:
        _check_seeds(folder, cell, prompts)
        _check_adapter(folder, cell, table)


def _prompts(path: Path) -> list[Prompt]:
    prompts = []
    for row in read_jsonl(path, "id", "index", "seed"):
        prompt = Prompt(str(row["id"]), row["index"], row["seed"])
        prompts.append(prompt)
    return prompts


def _check_shards(folder: ResultsFolder, cycle_folder: Path, ids: list[str]) -> None:
    """Check that the shards hold the candidates between them, as answers and as evaluations."""
    for kind, suffix, reader in (
        (GENERATED, "jsonl", _answered),
        (EVALUATED, "json", _evaluated),
    ):
        ids_of_shards: list[str] = []
        for path in _shards(cycle_folder / kind, suffix):
            ids_of_shards += folder.read(path, reader) or []
        if sorted(ids_of_shards) != ids:
            folder.say(
                "wrong",
                cycle_folder / kind,
                f"{len(ids_of_shards)} candidates where candidates.parquet has {len(ids)}",
            )


def _shards(folder: Path, suffix: str) -> Iterator[Path]:
    for path in sorted(folder.glob(f"*.{suffix}")):
        if not path.name.endswith(".run.json"):
            yield path


def _answered(path: Path) -> list[str]:
    return [str(row["id"]) for row in read_jsonl(path)]


def _evaluated(path: Path) -> list[str]:
    records = read_json(path, "records")["records"]
    return [str(record["id"]) for record in records]


def _check_summary(folder: ResultsFolder, cycle_folder: Path, table: pl.DataFrame) -> None:
    path = cycle_folder / SUMMARY
    if not path.is_file():
        return
    summary = folder.read(path, lambda path: read_json(path, "funnel", "candidates"))
    if summary is None:
        return
    funnel = count_outcomes(table["outcome"].to_list())
    counted = (summary["funnel"], summary["candidates"])
    if counted != (funnel, table.height):
        folder.say("wrong", path, "other counts than candidates.parquet has")


def _check_seeds(folder: ResultsFolder, cell: Cell, prompts: list[Prompt]) -> None:
    """Name the first prompt whose seed is not that which the run's gives."""
    run_seed = seed_of(folder.settings, cell.chain)
    for prompt in prompts:
        derived = derive(run_seed, *cell, "generate", prompt.index)
        if prompt.seed != derived:
            path = cell.folder(folder.results) / PROMPTS
            folder.say("wrong", path, f"the seed of {prompt.id} does not derive from the run's")
            return


def _check_adapter(folder: ResultsFolder, cell: Cell, table: pl.DataFrame) -> None:
    """Check that the candidates were generated with the adapter that the chain had before."""
    before = adapter_after(folder.settings, cell.chain, cell.cycle - 1)
    maker = before or Cell(SEED, 0)
    adapter = maker.folder(folder.results) / ADAPTER
    digest = folder.digest(adapter) if before else None

    if set(table["adapter"]) - {digest}:
        folder.say(
            "stale",
            cell.folder(folder.results) / CANDIDATES,
            f"generated with another adapter than {adapter.parent} holds",
        )
