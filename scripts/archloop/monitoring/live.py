"""What a run is doing now, from the files that it leaves: states of jobs, verdicts an hour, alarms.

Nothing in here is a result: a cycle under way counts what was judged so far. A file that is just
being replaced, or was cut off, is left out, and the next look finds it. Standard library only.
"""

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from archloop.errors import InputError
from archloop.files import read_json
from archloop.layout import (
    EVALUATED,
    STORED_SCORES,
    Cell,
    cells_with,
    evaluated,
    run_record,
)
from archloop.monitoring.chain_order import in_order, roles
from archloop.monitoring.job_states import job_states
from archloop.monitoring.live_cycles import DONE, ENOUGH, LiveCycle, collapse, cycles_by_chain
from archloop.monitoring.live_jobs import LiveRecords, read_live_records
from archloop.monitoring.status import (
    JobSeconds,
    TimeLeft,
    durations,
    expected,
    recorded,
    seconds_left,
    settings_of,
    unknown_stages,
)
from archloop.quantities import duration
from archloop.settings.chains import effective
from archloop.settings.planned_files import Job, plan
from archloop.settings.sections import Settings

ON_GPU = ("generate", "evaluate", "finetune")
PACE_S = 6 * 3600
SHORTEST_PACE_S = 60
SILENCE_S = 2 * 3600
# `reused` of a judge's run record, and how near its end that stands.
REUSED = re.compile(rb'\n "reused": (\d{1,9}),?\n')
REUSED_WITHIN = 4096

Chains = dict[str, list[LiveCycle]]


class Judged(NamedTuple):
    """Candidates whose verdicts came in at one time."""

    when: float
    candidates: float


class Reuse(NamedTuple):
    """How many judgements were known before, of all."""

    known: int
    total: int


class Disk(NamedTuple):
    """Bytes of a file system."""

    free: int
    total: int


@dataclass(frozen=True)
class Live:
    """All that the page says; what the files do not tell is None or empty.

    now: seconds since 1970. jobs: state -> how many. yields: role -> cycle -> admitted of 100.
    left: of the jobs to come; unknown: stages that this does not count. an_hour: candidates judged.
    hours: stage -> of its jobs so far. reports: page -> when it was written, newest first.
    """

    now: float
    results: Path
    records: LiveRecords
    jobs: Counter[str]
    chains: Chains
    yields: dict[str, dict[int, float]]
    left: TimeLeft | None
    unknown: list[str]
    an_hour: float | None
    hours: dict[str, float]
    hours_planned: float | None
    device: str | None
    reused: Reuse
    disk: Disk
    reports: dict[Path, float]
    alarms: list[str]

    @property
    def finished(self) -> bool:
        return self.jobs.keys() == {DONE}


def gather(
    results: Path,
    logs: Path,
    now: float | None = None,
    ended: bool = False,
    planned: list[Job] | None = None,
) -> Live:
    """Look at a results folder.

    logs: the folder with logs and benchmarks. now: seconds since 1970. ended: the run is over,
    though the process that holds its lock is still there. planned: as `plan` made it already.
    """
    if now is None:
        now = time.time()
    settings = settings_of(results)
    records = read_live_records(results)
    if ended:
        records = replace(records, at_work=False)
    if planned is None:
        planned = plan(results, settings)
    states = job_states(planned, results, logs, records)
    chains = cycles_by_chain(results, in_order(settings), settings, planned, states)

    left = [job for job in planned if states[job] != DONE]
    seconds = durations(logs)
    judged = _judged(planned, states, settings)
    hours = _hours(logs)
    hours_planned = _hours_planned(hours, left, seconds)
    silence = _silence_alarm(results, left, judged, records, now)

    return Live(
        now=now,
        results=results,
        records=records,
        jobs=Counter(states.values()),
        chains=chains,
        yields=_yields(settings, chains),
        left=seconds_left(left, settings, seconds) if left else None,
        unknown=unknown_stages(left, seconds),
        an_hour=_pace(judged, records, now),
        hours=hours,
        hours_planned=hours_planned if planned else None,
        device=_device(results),
        reused=_reused(results, chains),
        disk=_disk(results),
        reports=_reports(results),
        alarms=[*silence, *_record_alarms(records), *_cycle_alarms(chains)],
    )


def _judged(planned: list[Job], states: dict[Job, str], settings: Settings) -> list[Judged]:
    """Return what the shards judged, with as many candidates as the settings give each of them."""
    judged = []
    for job in planned:
        of_seed = not job.cycle
        if job.stage != "evaluate" or of_seed or states[job] != DONE:
            continue
        size = effective(settings, "cycle", job.chain, job.cycle)
        candidates = size["candidates"] / size["shards"]
        when = _modified(job.path)
        if when is not None:
            judged.append(Judged(when, candidates))

    return judged


def _modified(path: Path) -> float | None:
    """Return when a file was written; None where it is just being replaced."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _pace(judged: list[Judged], records: LiveRecords, now: float) -> float | None:
    """Return the candidates judged an hour over the last six hours of the run.

    None where there were none, or in no time to speak of.
    """
    if not judged:
        return None

    times = [shard.when for shard in judged]
    # A run that has stopped has no pace now; it is counted up to its last verdict.
    end = now if records.at_work else max(times)
    started = records.started or min(times)
    begin = max(end - PACE_S, started)
    inside = [shard for shard in judged if begin <= shard.when <= end]
    count = sum(shard.candidates for shard in inside)
    if not count or end - begin < SHORTEST_PACE_S:
        return None
    return 3600 * count / (end - begin)


def _silence_alarm(
    results: Path, left: list[Job], judged: list[Judged], records: LiveRecords, now: float
) -> Iterator[str]:
    """Yield a line where no verdict came for long, though there is something to judge."""
    stages_left = {job.stage for job in left}
    if not records.at_work or "evaluate" not in stages_left:
        return

    times = [shard.when for shard in judged]
    if records.started:
        times.append(records.started)

    # Each verdict is kept there at once.
    for path in (results / STORED_SCORES).glob("*"):
        when = _modified(path)
        if when is not None:
            times.append(when)

    silence = now - max(times, default=now)
    if silence > SILENCE_S:
        yield f"No verdict for {duration(silence)}."


def _record_alarms(records: LiveRecords) -> Iterator[str]:
    """Yield the losses that were no numbers, and how many jobs failed."""
    broken = []
    for failure in records.failures:
        if "no finite number" in failure.reason and not failure.mended:
            broken.append(f"{failure.log}: the loss was no finite number.")

    yield from broken[-3:]

    lost = len(records.lost)
    if lost:
        jobs = "1 job" if lost == 1 else f"{lost} jobs"
        yield f"Failed for good in this run: {jobs}; the reasons stand below."


def _cycle_alarms(chains: Chains) -> Iterator[str]:
    """Yield what is wrong with the last cycle of each chain that judged enough."""
    for name, cycles in chains.items():
        counted = [cycle for cycle in cycles if cycle.counts]
        judged = [cycle for cycle in counted if cycle.judged >= ENOUGH]
        if not judged:
            continue
        last = judged[-1]
        for words in collapse(judged):
            yield f"{name}, cycle {last.number}: {words}."


def _hours(logs: Path) -> dict[str, float]:
    """Return stage -> hours of all its jobs on record."""
    hours: dict[str, float] = {}
    for (_, stage), seconds in recorded(logs).items():
        before = hours.get(stage, 0.0)
        hours[stage] = before + sum(seconds) / 3600
    return hours


def _hours_planned(hours: dict[str, float], left: list[Job], seconds: JobSeconds) -> float | None:
    """Return the hours of all jobs, those to come by their means; None where none is on record."""
    if not hours:
        return None
    to_come = sum(expected(job, seconds) or 0.0 for job in left)
    return sum(hours.values()) + to_come / 3600


def _device(results: Path) -> str | None:
    """Return the device that the newest judge named."""
    newest, when = None, 0.0
    for cell in cells_with(results):
        record = run_record(evaluated(0))
        path = cell.folder(results) / record
        modified = _modified(path)
        if modified is not None and modified > when:
            newest, when = path, modified

    if newest is None:
        return None
    try:
        return str(read_json(newest, "device")["device"])
    except InputError:
        return None


def _reused(results: Path, chains: Chains) -> Reuse:
    """Return the judgements answered from the store, of the finished cycles that tell."""
    known = total = 0
    for name, cycles in chains.items():
        for cycle in cycles:
            if cycle.state != DONE or not cycle.judged:
                continue
            folder = Cell(name, cycle.number).folder(results)
            run_records = (folder / EVALUATED).glob("*.run.json")
            # With one record missing, its judgements would pass for new ones.
            counts = _known(map(_reused_by, run_records))
            if counts:
                known += sum(counts)
                total += cycle.judged

    return Reuse(known, total)


def _known(counts: Iterable[int | None]) -> list[int]:
    """Return all of them; none where one is not known."""
    known = []
    for count in counts:
        if count is None:
            return []
        known.append(count)

    return known


def _reused_by(path: Path) -> int | None:
    """Return `reused` of a judge's run record, found near its end: the rest is long."""
    try:
        start = path.stat().st_size - REUSED_WITHIN
        with open(path, "rb") as opened:
            opened.seek(max(0, start))
            match = REUSED.search(opened.read())
    except OSError:
        return None

    return int(match[1]) if match else None


def _disk(results: Path) -> Disk:
    """Return the room on the file system that the results lie on."""
    folder = results if results.is_dir() else results.resolve().parent
    usage = shutil.disk_usage(folder)
    return Disk(usage.free, usage.total)


def _reports(results: Path) -> dict[Path, float]:
    """Return the pages of reports that are there and when they were written, the newest first."""
    written = {}
    for name in ("report", "partial"):
        path = results / name / "index.html"
        if path.is_file():
            written[path] = path.stat().st_mtime

    newest_first = sorted(written.items(), key=itemgetter(1), reverse=True)
    return dict(newest_first)


def _yields(settings: Settings, chains: Chains) -> dict[str, dict[int, float]]:
    """Return role -> cycle -> admitted of 100 generated, over the runs that finished that cycle."""
    yields: dict[str, dict[int, float]] = {}
    for kind, names in roles(settings).items():
        of_cycle: dict[int, list[float]] = {}
        for name in names:
            for cycle in chains[name]:
                if cycle.state == DONE and cycle.judged:
                    share = 100 * cycle.counts["admitted"] / cycle.judged
                    of_cycle.setdefault(cycle.number, []).append(share)

        line = {}
        for number, shares in sorted(of_cycle.items()):
            line[number] = sum(shares) / len(shares)
        if line:
            yields[kind] = line

    return yields
