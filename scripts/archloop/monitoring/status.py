"""How far a run is: the funnel of every cycle so far, jobs and time left, in the terminal.

It looks at which of the planned files are there, so it works beside a run, after one, and on a copy
of its folder. Standard library only: it starts in a blink.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archloop import layout
from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import SETTINGS_FILE, Cell, cells_with, evaluated, generated
from archloop.outcomes import NOT_VALID, VALID
from archloop.progress import duration
from archloop.settings.chains import (
    BASE,
    FAMILIES,
    MODEL,
    SEED,
    effective,
    parent_of,
    trains,
    uses_seed_adapter,
)

FEW_CHAINS = 4  # of more, only the last LAST_CYCLES each are shown
LAST_CYCLES = 2
Settings = dict[str, Any]
# (chain, stage) -> seconds; the chain is "" for what belongs to none, or to all.
Seconds = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Job:
    """One planned job. path: the file that it leaves last."""

    chain: str
    cycle: int
    stage: str
    path: Path


@dataclass(frozen=True)
class CycleLine:
    """A line of the table of a chain. outcomes: those that are counted already."""

    cycle: str
    candidates: int
    outcomes: dict[str, int]
    valid: str
    mean: str
    best: str

    def cell(self, column: str) -> str:
        if column in (*NOT_VALID, *VALID):
            return str(self.outcomes.get(column, ""))
        return str(getattr(self, column))


def status(results: Path, logs: Path, jobs: list[Job] | None = None) -> str:
    """Return what there is to say of a results folder.

    logs: the folder with the benchmarks of its jobs. jobs: of `plan`, where somebody has planned
    already.
    """
    settings = settings_of(results)
    chains = dict(settings.get("chains", {}))
    chains.pop(SEED, None)
    if not chains:
        return f"no run has been started in {results}/ yet"

    lines = []
    for name, chain in chains.items():
        shown = chain["cycles"] if len(chains) <= FEW_CHAINS else LAST_CYCLES
        lines += _chain_lines(results, name, chain["cycles"], shown)

    if jobs is None:
        jobs = plan(results, settings)
    left = [job for job in jobs if not job.path.is_file()]
    if jobs:
        lines.append(f"jobs: {len(jobs) - len(left)} of {len(jobs)} done, {len(left)} left")
    if left:
        lines.append(f"time left: {time_left(left, settings, durations(logs))}")

    report = results / layout.REPORT
    if report.is_file():
        lines.append(f"report: {report}")
    return "\n".join(lines)


def plan(results: Path, settings: Settings) -> list[Job]:
    """Return all jobs of a run from the seed corpus on.

    None where the folder holds no settings.
    """
    if "seed_corpus" not in settings:
        return []

    jobs = list(_seed_jobs(results / SEED, settings))
    for name, chain in settings["chains"].items():
        for cycle in range(1, chain.get("cycles", 0) + 1):
            jobs += _cycle_jobs(results, settings, Cell(name, cycle))
        if name != SEED:
            jobs.append(Job(name, 0, "export", results / name / layout.EXPORT))

    jobs.append(Job("", 0, "report", results / layout.REPORT))
    return jobs


def _seed_jobs(folder: Path, settings: Settings) -> Iterator[Job]:
    yield Job(SEED, 0, "write_seed_programs", folder / "left_out.json")
    for shard in range(settings["seed_corpus"]["shards"]):
        yield Job(SEED, 0, "evaluate", folder / evaluated(shard))
    yield Job(SEED, 0, "build_seed_corpus", folder / layout.CORPUS)
    if uses_seed_adapter(settings):
        yield Job(SEED, 0, "finetune", folder / layout.ADAPTER)


def _cycle_jobs(results: Path, settings: Settings, cell: Cell) -> Iterator[Job]:
    folder = cell.folder(results)
    writers = {MODEL: "generate", FAMILIES: "draw_families"}
    writer = writers.get(settings["chains"][cell.chain]["source"], "transfer")
    shards = range(effective(settings, "cycle", *cell)["shards"])
    if writer == "generate":
        yield Job(*cell, "write_prompts", folder / layout.PROMPTS)
    for shard in shards:
        yield Job(*cell, writer, folder / generated(shard))
    for shard in shards:
        yield Job(*cell, "evaluate", folder / evaluated(shard))
    yield Job(*cell, "admit", folder / layout.CANDIDATES)
    if trains(settings, *cell):
        yield Job(*cell, "finetune", folder / layout.ADAPTER)
    yield Job(*cell, "summarize", folder / layout.SUMMARY)


def recorded(logs: Path) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of the jobs on record by (chain, stage)."""
    found: dict[tuple[str, str], list[float]] = {}
    for path in logs.glob("**/*.tsv"):
        seconds = _seconds(path)
        if seconds is not None:
            chain = path.relative_to(logs).parts[0] if path.parent != logs else ""
            found.setdefault((chain, path.stem.split("-")[0]), []).append(seconds)

    return found


def durations(logs: Path) -> Seconds:
    """Return the mean seconds of the jobs on record, by chain, and over the cycles of all chains."""
    found = recorded(logs)
    for (chain, stage), values in list(found.items()):
        if chain not in ("", SEED):
            found["", stage] = found.get(("", stage), []) + values

    return {key: sum(values) / len(values) for key, values in found.items()}


def time_left(left: list[Job], settings: Settings, seconds: Seconds) -> str:
    """Return the time left in words: with all jobs side by side that can be, to one after another.

    What no job on record tells is counted as nothing and named.
    """
    span = seconds_left(left, settings, seconds)
    if span is None:
        return "unknown, for no job like those left has ended yet"

    least, most = map(duration, span)
    text = least
    if least != most:
        text = f"{least} to {most} (shards and chains side by side, to one job after another)"
    unknown = sorted({job.stage for job in left if expected(job, seconds) is None})
    if unknown:
        text += f"; more for {', '.join(unknown)}, of which no job has ended yet"
    return text


def seconds_left(
    left: list[Job], settings: Settings, seconds: Seconds
) -> tuple[float, float] | None:
    """Return (least, most) seconds of the jobs left: side by side, one after another.

    None where nothing tells.
    """
    if all(expected(job, seconds) in (None, 0) for job in left):
        return None

    slowest: dict[tuple[str, int], dict[str, float]] = {}
    in_all = 0.0
    for job in left:
        of_job = expected(job, seconds) or 0.0
        stages = slowest.setdefault((job.chain, job.cycle), {})
        stages[job.stage] = max(stages.get(job.stage, 0.0), of_job)
        in_all += of_job

    ends = [_seconds_to_end(name, settings, slowest) for name in settings["chains"]]
    report = sum(slowest.get(("", 0), {}).values())  # it waits for every chain
    return max(ends, default=0.0) + report, in_all


def expected(job: Job, seconds: Seconds) -> float | None:
    """Return the mean seconds of jobs like this one, of its own chain where there are any.

    None where none has ended.
    """
    return seconds.get((job.chain, job.stage), seconds.get(("", job.stage)))


def _seconds_to_end(
    chain: str,
    settings: Settings,
    slowest: dict[tuple[str, int], dict[str, float]],
    last: int | None = None,
) -> float:
    """Return the seconds until a chain has ended, or its cycle `last`, with what it starts from."""
    if last is None:
        last = settings["chains"][chain].get("cycles", 0)
    own = 0.0
    for cycle in range(last + 1):
        own += sum(slowest.get((chain, cycle), {}).values())
    if chain == SEED:
        return own

    parent, cycle = parent_of(settings, chain)
    if parent == BASE:
        parent = SEED
    return own + _seconds_to_end(parent, settings, slowest, cycle)


def settings_of(results: Path) -> Settings:
    """Return the run's settings; without them, the chains and cycles that are found."""
    if (results / SETTINGS_FILE).is_file():
        return read_json(results / SETTINGS_FILE, "chains")
    # The last cell of a chain is that of its last cycle.
    chains = {cell.chain: {"cycles": cell.cycle} for cell in cells_with(results)}
    return {"chains": chains}


def _chain_lines(results: Path, name: str, planned: int, most: int) -> list[str]:
    """Return the lines of a chain with the last `most` of its cycles that have begun."""
    lines = []
    finished = 0
    for cycle in range(1, planned + 1):
        path = Cell(name, cycle).folder(results)
        if (path / layout.SUMMARY).is_file():
            finished += 1
            lines.append(_finished(path / layout.SUMMARY))
        elif path.is_dir():
            lines.append(_under_way(cycle, path))

    head = f"chain {name}: {finished} of {planned} cycles finished"
    return [head, "", *_table(lines[-most:]), ""] if lines else [head]


def _finished(path: Path) -> CycleLine:
    summary = read_json(path, "cycle", "candidates", "funnel", "accuracy", "valid")
    valid, accuracy = summary["valid"], summary["accuracy"]

    return CycleLine(
        cycle=str(summary["cycle"]),
        candidates=summary["candidates"],
        outcomes=summary["funnel"],
        valid=f"{valid['count']} ({percent(valid['share'])})",
        mean=percent(accuracy["mean"]),
        best=percent(accuracy["best"]),
    )


def _under_way(cycle: int, folder: Path) -> CycleLine:
    """Return the line of a cycle that runs: what was generated and judged so far; no verdict yet."""
    records = []
    for path in sorted((folder / "evaluated").glob("[0-9]*.json")):
        if path.name.endswith(".run.json"):
            continue
        try:
            records += read_json(path, "records")["records"]
        except InputError:
            continue  # a file that is just being replaced; the next look finds it

    generated = 0
    for path in (folder / "generated").glob("*.jsonl"):
        with open(path, "rb") as opened:
            generated += sum(1 for _ in opened)

    counts = Counter(record["outcome"] for record in records)
    scores = [record["accuracy"] for record in records if record.get("accuracy") is not None]
    mean = sum(scores) / len(scores) if scores else None

    return CycleLine(
        cycle=f"{cycle} under way",
        candidates=generated,
        outcomes={outcome: counts[outcome] for outcome in NOT_VALID},
        valid=f"{counts['trained']} of {len(records)}" if records else "",
        mean=percent(mean),
        best=percent(max(scores, default=None)),
    )


def _table(lines: list[CycleLine]) -> list[str]:
    """Return the lines under a header, in columns; a check that nothing fails at has none."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.outcomes)
    failed = [check for check in NOT_VALID if counts[check]]
    header = ["cycle", "candidates", *failed, "valid", *VALID, "mean", "best"]
    rows = [header]

    for line in lines:
        rows.append([line.cell(column) for column in header])
    widths = [max(map(len, cells)) for cells in zip(*rows)]

    table = []
    for row in rows:
        table.append("  " + "  ".join(map(str.rjust, row, widths)))
    return table


def _seconds(path: Path) -> float | None:
    """Return the seconds of a benchmark that Snakemake wrote; None for one that is not whole."""
    try:
        return float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
    except (OSError, ValueError, IndexError):
        return None


def percent(share: float | None) -> str:
    """Return a share (0 to 1) in per cent with one decimal, `-` for None."""
    return "-" if share is None else f"{100 * share:.1f} %"
