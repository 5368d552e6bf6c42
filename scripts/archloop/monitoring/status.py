"""How far a run is: the funnel of every cycle so far, jobs and time left, in the terminal.

It looks at which of the planned files are there, so it works beside a run, after one, and on a copy
of its folder. Standard library only: it starts in a blink.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from archloop import layout
from archloop.files import read_json
from archloop.layout import SETTINGS_FILE, Cell, cells_with
from archloop.monitoring.cycle_files import judged_so_far, read_summary
from archloop.outcomes import NOT_VALID, VALID
from archloop.quantities import duration, percent
from archloop.settings.chains import BASE, SECTIONS, SEED, parent_of
from archloop.settings.planned_files import Job, plan
from archloop.settings.sections import ChainSettings, Settings

FEW_CHAINS = 4  # of more, only the last LAST_CYCLES each are shown
LAST_CYCLES = 2
UNKNOWN = "-"


class ChainStage(NamedTuple):
    """A stage of a chain's jobs; the chain is "" for what belongs to none, or to all."""

    chain: str
    stage: str


class TimeLeft(NamedTuple):
    """Seconds until the end: all jobs side by side that can be, or one after another."""

    least_s: float
    most_s: float


JobSeconds = dict[tuple[str, str], float]  # ChainStage -> mean seconds of a job
Slowest = dict[Cell, dict[str, float]]  # stage -> seconds of the slowest of its jobs left


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
        planned = chain["cycles"]
        shown = planned if len(chains) <= FEW_CHAINS else LAST_CYCLES
        lines += _chain_lines(results, name, planned, shown)

    if jobs is None:
        jobs = plan(results, settings)
    left = [job for job in jobs if not job.path.is_file()]
    if jobs:
        total, to_do = len(jobs), len(left)
        lines.append(f"jobs: {total - to_do} of {total} done, {to_do} left")
    if left:
        text = time_left(left, settings, durations(logs))
        lines.append(f"time left: {text}")

    report = results / layout.REPORT
    if report.is_file():
        lines.append(f"report: {report}")
    return "\n".join(lines)


def recorded(logs: Path) -> dict[ChainStage, list[float]]:
    """Return the seconds of the jobs on record."""
    seconds_of: dict[ChainStage, list[float]] = {}
    for path in logs.glob("**/*.tsv"):
        seconds = _seconds(path)
        if seconds is None:
            continue
        chain = ""
        if path.parent != logs:
            chain = path.relative_to(logs).parts[0]
        stage, _, _ = path.stem.partition("-")
        seconds_of.setdefault(ChainStage(chain, stage), []).append(seconds)

    return seconds_of


def durations(logs: Path) -> JobSeconds:
    """Return the mean seconds of the jobs on record, by chain and over all chains but the seed."""
    seconds_of = recorded(logs)
    for (chain, stage), values in list(seconds_of.items()):
        # Cycle 0 judges and trains other numbers of programs than the cycles after it.
        if chain not in ("", SEED):
            of_all = ChainStage("", stage)
            seconds_of[of_all] = seconds_of.get(of_all, []) + values

    means: JobSeconds = {}
    for key, values in seconds_of.items():
        means[key] = sum(values) / len(values)
    return means


def time_left(left: list[Job], settings: Settings, seconds: JobSeconds) -> str:
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
    unknown = unknown_stages(left, seconds)
    if unknown:
        text += f"; more for {', '.join(unknown)}, of which no job has ended yet"
    return text


def unknown_stages(left: list[Job], seconds: JobSeconds) -> list[str]:
    """Return the stages of the jobs left that no job on record tells the duration of."""
    unknown = set()
    for job in left:
        if expected(job, seconds) is None:
            unknown.add(job.stage)
    return sorted(unknown)


def seconds_left(left: list[Job], settings: Settings, seconds: JobSeconds) -> TimeLeft | None:
    """Return the time that the jobs left take; None where no job on record tells."""
    slowest: Slowest = {}
    in_all = 0.0
    for job in left:
        of_job = expected(job, seconds) or 0.0
        stages = slowest.setdefault(Cell(job.chain, job.cycle), {})
        before = stages.get(job.stage, 0.0)
        stages[job.stage] = max(before, of_job)
        in_all += of_job

    if not in_all:
        return None
    ends = [_seconds_to_end(name, settings, slowest) for name in settings["chains"]]
    # The report belongs to no chain and waits for each.
    report = _seconds_of(Cell("", 0), slowest)
    return TimeLeft(max(ends, default=0.0) + report, in_all)


def expected(job: Job, seconds: JobSeconds) -> float | None:
    """Return the mean seconds of jobs like this one, of its own chain where there are any.

    None where none has ended.
    """
    of_chain = seconds.get(ChainStage(job.chain, job.stage))
    return seconds.get(ChainStage("", job.stage)) if of_chain is None else of_chain


def _seconds_of(cell: Cell, slowest: Slowest) -> float:
    """Return the seconds of a cycle's stages one after another, the jobs of each side by side."""
    return sum(slowest.get(cell, {}).values())


def _seconds_to_end(
    chain: str,
    settings: Settings,
    slowest: Slowest,
    last: int | None = None,
) -> float:
    """Return the seconds until a chain has ended, or its cycle `last`, with what it starts from."""
    if last is None:
        last = settings["chains"][chain].get("cycles", 0)
    of_chain = 0.0
    for cycle in range(last + 1):
        of_chain += _seconds_of(Cell(chain, cycle), slowest)
    if chain == SEED:
        return of_chain

    # A chain waits for the cycle that it starts from.
    parent, cycle = parent_of(settings, chain)
    if parent == BASE:
        parent = SEED
    return of_chain + _seconds_to_end(parent, settings, slowest, cycle)


def settings_of(results: Path) -> Settings:
    """Return the run's settings; without them, the chains and cycles that are found.

    Of settings that another version of this project wrote, the chains and their cycles: nothing can
    be planned by the rest.
    """
    chains: dict[str, ChainSettings] = {}
    if (results / SETTINGS_FILE).is_file():
        settings = cast(Settings, read_json(results / SETTINGS_FILE, "chains"))
        if _is_complete(settings):
            return settings
        for name, chain in settings["chains"].items():
            chains[name] = {"cycles": chain.get("cycles", 0)}
        return {"chains": chains}

    # The last cell of a chain is that of its last cycle.
    for cell in cells_with(results):
        chains[cell.chain] = {"cycles": cell.cycle}
    return {"chains": chains}


def _is_complete(settings: Settings) -> bool:
    """Say whether settings have all that a plan is made from."""
    if not {*SECTIONS, "seed_corpus"} <= settings.keys():
        return False
    for name, chain in settings["chains"].items():
        if name != SEED and not {"cycles", "start", "source"} <= chain.keys():
            return False
    return True


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
    if not lines:
        return [head]
    return [head, "", *_table(lines[-most:]), ""]


def _finished(path: Path) -> CycleLine:
    summary = read_summary(path)
    valid, accuracy = summary["valid"], summary["accuracy"]
    share = _percent(valid["share"])

    return CycleLine(
        cycle=str(summary["cycle"]),
        candidates=summary["candidates"],
        outcomes=summary["funnel"],
        valid=f"{valid['count']} ({share})",
        mean=_percent(accuracy["mean"]),
        best=_percent(accuracy["best"]),
    )


def _under_way(cycle: int, folder: Path) -> CycleLine:
    """Return the line of a cycle that runs: what was generated and judged so far."""
    judged = list(judged_so_far(folder))
    generated = 0
    for path in (folder / layout.GENERATED).glob("*.jsonl"):
        with open(path, "rb") as opened:
            generated += sum(1 for _ in opened)

    counts = Counter(candidate["outcome"] for candidate in judged)
    accuracies = [candidate["accuracy"] for candidate in judged]
    scores = [accuracy for accuracy in accuracies if accuracy is not None]
    mean = sum(scores) / len(scores) if scores else None
    valid = ""
    if judged:
        valid = f"{counts['trained']} of {len(judged)}"

    return CycleLine(
        cycle=f"{cycle} under way",
        candidates=generated,
        outcomes={outcome: counts[outcome] for outcome in NOT_VALID},
        valid=valid,
        mean=_percent(mean),
        best=_percent(max(scores, default=None)),
    )


def _percent(share: float | None) -> str:
    return percent(share, unknown=UNKNOWN)


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
    columns = zip(*rows)
    widths = [max(map(len, column)) for column in columns]

    table = []
    for row in rows:
        cells = map(str.rjust, row, widths)
        table.append("  " + "  ".join(cells))
    return table


def _seconds(path: Path) -> float | None:
    """Return the seconds of a benchmark that Snakemake wrote; None for one that is not whole."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return float(lines[1].split("\t")[0])
    except (OSError, ValueError, IndexError):
        return None
