"""What a run is doing now, from the files that it leaves: states of jobs, verdicts an hour, counts, alarms in words.

Nothing in here is a result: a cycle under way counts what was judged so far. A file that is just being replaced, or was
cut off, is left out, and the next look finds it. Standard library only.
"""

import re
import shutil
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json
from archloop.monitoring.live_cycles import (
    CUT,
    DONE,
    ENOUGH,
    FAILED,
    QUEUED,
    RUNNING,
    WAITING,
    Cycle,
    collapse,
    cycles_by_chain,
)
from archloop.monitoring.live_jobs import Records, read_records
from archloop.monitoring.status import (
    Job,
    durations,
    expected,
    plan,
    recorded,
    seconds_left,
    settings_of,
)
from archloop.progress import duration
from archloop.settings.chains import MODEL, SEED, ancestors, effective, role

ON_GPU = ("generate", "evaluate", "finetune")
CONTROLS = ("frozen", "fixed", "random")  # in the order of the report
PACE_S, SILENCE_S = 6 * 3600, 2 * 3600
PLACE = re.compile(r"(?:.*/)?logs/(?:(\w+)/)?(?:cycle-(\d+)/)?([a-z_]+?)(?:-(\d+))?\.log")


@dataclass(frozen=True)
class Live:
    """All that the page says; what the files do not tell is None or empty."""

    now: float
    results: Path
    records: Records
    jobs: Counter
    chains: dict[str, list[Cycle]]
    yields: dict[str, dict[int, float]]
    left: tuple[float, float] | None
    unknown: list[str]
    an_hour: float | None
    hours: dict[str, float]
    hours_planned: float | None
    device: str | None
    reused: tuple[int, int]
    disk: tuple[int, int]
    reports: dict[Path, float]
    alarms: list[str]

    @property
    def finished(self) -> bool:
        return bool(self.jobs) and set(self.jobs) == {DONE}


def gather(
    results: Path,
    logs: Path,
    now: float | None = None,
    ended: bool = False,
    planned: list[Job] | None = None,
) -> Live:
    """Look at a results folder. logs: the folder with logs and benchmarks. now: seconds since 1970.

    ended: the run is over, though the process that holds its lock is still there. planned: as `plan` made it already.
    """
    now = time.time() if now is None else now
    settings, records = settings_of(results), read_records(results)
    records = replace(records, at_work=False) if ended else records
    planned = plan(results, settings) if planned is None else planned
    states = _states(planned, results, logs, records)
    chains = cycles_by_chain(results, in_order(settings), settings, planned, states)
    seconds, left = durations(logs), [job for job in planned if states[job] != DONE]
    verdicts = _verdicts(planned, states, settings)
    means = [expected(job, seconds) for job in left]
    hours = _hours(logs)
    silence = _silence(results, verdicts, records, now)
    waits = any(job.stage == "evaluate" for job in left)
    alarms = (
        [f"No verdict for {duration(silence)}."]
        if waits and silence is not None and silence > SILENCE_S
        else []
    )
    return Live(
        now=now,
        results=results,
        records=records,
        jobs=Counter(states.values()),
        chains=chains,
        yields=_yields(settings, chains),
        left=seconds_left(left, settings, seconds) if left else None,
        unknown=sorted({job.stage for job, mean in zip(left, means) if mean is None}),
        an_hour=_pace(verdicts, records, now),
        hours=hours,
        hours_planned=sum(hours.values()) + sum(filter(None, means)) / 3600
        if planned and hours
        else None,
        device=_device(results),
        reused=_reused(results, chains),
        disk=_disk(results),
        reports=_reports(results),
        alarms=alarms + _alarms(records, chains),
    )


def in_order(settings: dict) -> list[str]:
    """Return the chains: the seed, then each after what it builds on, those of the model first, repeats together.

    The file of settings has them by name alone.
    """
    chains = settings.get("chains", {})
    loop = settings.get("report", {}).get("loop", "main")

    known = loop in chains and "finetuning" in settings

    def rank(name: str) -> tuple:
        facts = chains[name]
        builds_on = len([*ancestors(settings, name)]) if "start" in facts else 0
        group = facts.get("repeat_of", name)
        control = role(settings, name, loop) if known and name != SEED else None
        place = CONTROLS.index(control) if control in CONTROLS else len(CONTROLS)
        return (
            builds_on,
            facts.get("source", MODEL) != MODEL,
            group != loop,
            place,
            group,
            facts.get("random_seed") or 0,
            name,
        )

    return sorted(chains, key=rank)


def roles(settings: dict) -> dict[str, list[str]]:
    """Return main, frozen and random -> their chains, all repeats: the first of each kind, on the first one's data."""
    chains = settings.get("chains", {})
    names = [name for name in in_order(settings) if name != SEED]
    found: dict[str, str] = {}
    for name in names:
        same = (
            chains[name].get("dataset") == chains[names[0]].get("dataset")
            and "finetuning" in settings
        )
        kind = "main" if name == names[0] else role(settings, name, names[0]) if same else None
        if kind in ("main", "frozen", "random"):
            found.setdefault(kind, chains[name].get("repeat_of", name))
    return {
        kind: [name for name in names if chains[name].get("repeat_of", name) == group]
        for kind, group in found.items()
    }


def _states(planned: list[Job], results: Path, logs: Path, records: Records) -> dict[Job, str]:
    """Return the state of every planned job."""
    failed = {
        place
        for each in records.failures
        if not (each.again or each.mended)
        for place in _place(each.log)
    }
    states = {}
    for job in planned:
        mark = records.marks.get(
            f"{results.resolve().name}/{job.path.relative_to(results).as_posix()}"
        )
        if mark is not None and records.at_work is not False:
            states[job] = RUNNING if _begun(log_of(job, logs), mark) else QUEUED
        elif mark is not None:
            states[job] = CUT
        elif job.path.is_file():
            states[job] = DONE
        else:
            states[job] = FAILED if _key(job) in failed else WAITING
    return states


def log_of(job: Job, logs: Path) -> Path:
    """Return where a job writes its log."""
    folder = logs / job.chain / (f"cycle-{job.cycle}" if job.cycle else "")
    shard = f"-{job.path.stem}" if job.path.stem.isdecimal() else ""
    return folder / f"{job.stage}{shard}.log"


def _begun(log: Path, mark: float) -> bool:
    """Tell whether a job writes its log already; before that a cluster keeps it in its queue."""
    try:
        return log.stat().st_mtime >= mark
    except OSError:
        return False


def _key(job: Job) -> tuple[str, int, str, str]:
    return job.chain, job.cycle, job.stage, job.path.stem if job.path.stem.isdecimal() else ""


def _place(log: str) -> list[tuple[str, int, str, str]]:
    """Return the key of the job that a log belongs to, as a list of one, or of none."""
    found = PLACE.fullmatch(log)
    return [(found[1] or "", int(found[2] or 0), found[3], found[4] or "")] if found else []


def _verdicts(
    planned: list[Job], states: dict[Job, str], settings: dict
) -> list[tuple[float, float]]:
    """Return (when, how many) for each judged shard of a cycle; how many by the settings, split evenly."""
    found = []
    for job in planned:
        if job.stage != "evaluate" or states[job] != DONE or not job.cycle:
            continue
        shards = effective(settings, "cycle", job.chain, job.cycle)["shards"]
        try:
            when = job.path.stat().st_mtime
        except OSError:
            continue
        found.append(
            (when, effective(settings, "cycle", job.chain, job.cycle)["candidates"] / shards)
        )
    return found


def _pace(verdicts: list[tuple[float, float]], records: Records, now: float) -> float | None:
    """Return the candidates judged an hour over the last six hours of the run; None where there were none."""
    last = max((when for when, _ in verdicts), default=None)
    if last is None:
        return None
    end = now if records.at_work else last
    begin = max(end - PACE_S, records.started or min(when for when, _ in verdicts))
    count = sum(many for when, many in verdicts if begin <= when <= end)
    return 3600 * count / (end - begin) if count and end - begin >= 60 else None


def _silence(
    results: Path, verdicts: list[tuple[float, float]], records: Records, now: float
) -> float | None:
    """Return the seconds since the last verdict, or since the run began; None where no run is known to be at work."""
    if not records.at_work:
        return None
    times = [when for when, _ in verdicts] + ([records.started] if records.started else [])
    for path in (results / "evaluations").glob("*"):  # each verdict is kept there at once
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return now - max(times) if times else None


def _hours(logs: Path) -> dict[str, float]:
    """Return stage -> hours of all its jobs on record."""
    found: dict[str, float] = {}
    for (_, stage), seconds in recorded(logs).items():
        found[stage] = found.get(stage, 0.0) + sum(seconds) / 3600
    return found


def _device(results: Path) -> str | None:
    """Return the device that the newest judge named."""
    newest, when = None, 0.0
    for path in results.glob("*/cycle-*/evaluated/0.run.json"):
        try:
            if path.stat().st_mtime > when:
                newest, when = path, path.stat().st_mtime
        except OSError:
            continue
    try:
        return str(read_json(newest, "device")["device"]) if newest else None
    except InputError:
        return None


def _reused(results: Path, chains: dict[str, list[Cycle]]) -> tuple[int, int]:
    """Return (judgements answered from the store, all) of the finished cycles whose run records tell."""
    reused = total = 0
    for name, cycles in chains.items():
        for cycle in cycles:
            if cycle.state != DONE or not cycle.judged:
                continue
            found = [
                _number(path)
                for path in (results / name / f"cycle-{cycle.number}" / "evaluated").glob(
                    "*.run.json"
                )
            ]
            if found and None not in found:
                reused, total = reused + sum(found), total + cycle.judged
    return reused, total


def _number(path: Path) -> int | None:
    """Return `reused` of a judge's run record, found near its end: the rest is long, and read by nobody here."""
    try:
        with open(path, "rb") as opened:
            opened.seek(max(0, path.stat().st_size - 4096))
            found = re.search(rb'\n "reused": (\d{1,9}),?\n', opened.read())
    except OSError:
        return None
    return int(found[1]) if found else None


def _disk(results: Path) -> tuple[int, int]:
    """Return (free, total) bytes of the file system that the results lie on."""
    usage = shutil.disk_usage(results if results.is_dir() else results.resolve().parent)
    return usage.free, usage.total


def _reports(results: Path) -> dict[Path, float]:
    """Return the pages of reports that are there and when they were written, the newest first."""
    found = {}
    for name in ("report", "partial"):
        path = results / name / "index.html"
        if path.is_file():
            found[path] = path.stat().st_mtime
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _yields(settings: dict, chains: dict[str, list[Cycle]]) -> dict[str, dict[int, float]]:
    """Return role -> cycle -> admitted of 100 generated, over the runs of the group that finished that cycle."""
    found = {}
    for kind, names in roles(settings).items():
        of_cycle: dict[int, list[float]] = {}
        for name in names:
            for cycle in chains[name]:
                if cycle.state == DONE and cycle.judged:
                    of_cycle.setdefault(cycle.number, []).append(
                        100 * cycle.counts["admitted"] / cycle.judged
                    )
        found[kind] = {
            number: sum(values) / len(values) for number, values in sorted(of_cycle.items())
        }
    return {kind: values for kind, values in found.items() if values}


def _alarms(records: Records, chains: dict[str, list[Cycle]]) -> list[str]:
    """Return what somebody should look at: failed jobs, losses that are no numbers, and cycles that collapse."""
    found = []
    broken = [
        each for each in records.failures if "no finite number" in each.reason and not each.mended
    ]
    found += [f"{each.log}: the loss was no finite number." for each in broken[-3:]]
    lost = [each for each in records.failures if not (each.again or each.mended)]
    if lost:
        found.append(
            f"Failed for good in this run: {len(lost)} job{'s' * (len(lost) > 1)}; the reasons stand below."
        )
    for name, cycles in chains.items():
        judged = [cycle for cycle in cycles if cycle.counts and cycle.judged >= ENOUGH]
        if judged:
            found += [f"{name}, cycle {judged[-1].number}: {words}." for words in collapse(judged)]
    return found
