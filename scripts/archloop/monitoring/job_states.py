"""The state of every planned job: done, running, queued, failed, cut off, or still to come.

Standard library only.
"""

import re
from pathlib import Path
from typing import NamedTuple

from archloop.layout import CYCLE_PREFIX, Cell
from archloop.monitoring.live_cycles import CUT, DONE, FAILED, QUEUED, RUNNING, WAITING
from archloop.monitoring.live_jobs import LiveRecords
from archloop.settings.planned_files import Job

# `logs/main/cycle-3/evaluate-1.log`
LOG_PATH = re.compile(
    rf"(?:.*/)?logs/(?:(?P<chain>\w+)/)?(?:{CYCLE_PREFIX}(?P<cycle>\d+)/)?"
    r"(?P<stage>[a-z_]+?)(?:-(?P<shard>\d+))?\.log"
)


class JobKey(NamedTuple):
    """What names a job in the paths of its logs. shard: as text, empty where it has none."""

    chain: str
    cycle: int
    stage: str
    shard: str


def job_states(
    planned: list[Job], results: Path, logs: Path, records: LiveRecords
) -> dict[Job, str]:
    """Return the state of every planned job."""
    failed = {_key_of_log(failure.log) for failure in records.lost}
    states = {}
    for job in planned:
        state = _state_on_record(job, results, logs, records)
        if state is None and job.path.is_file():
            state = DONE
        elif state is None:
            state = FAILED if _key(job) in failed else WAITING
        states[job] = state

    return states


def _state_on_record(job: Job, results: Path, logs: Path, records: LiveRecords) -> str | None:
    """Return the state of a job that Snakemake began and has not ended; None of any other."""
    # Snakemake names an output by its path from the folder that it runs in.
    below = job.path.relative_to(results).as_posix()
    begun = records.marks.get(f"{results.resolve().name}/{below}")
    if begun is None:
        return None
    if records.at_work is False:
        return CUT
    return RUNNING if _writes_log(log_of(job, logs), begun) else QUEUED


def log_of(job: Job, logs: Path) -> Path:
    """Return where a job writes its log."""
    folder = Cell(job.chain, job.cycle).folder(logs)
    shard = _key(job).shard
    name = f"{job.stage}-{shard}" if shard else job.stage
    return folder / f"{name}.log"


def _writes_log(log: Path, begun: float) -> bool:
    """Tell whether a job writes its log already; before that a cluster keeps it in its queue."""
    try:
        return log.stat().st_mtime >= begun
    except OSError:
        return False


def _key(job: Job) -> JobKey:
    name = job.path.stem
    shard = name if name.isdecimal() else ""
    return JobKey(job.chain, job.cycle, job.stage, shard)


def _key_of_log(log: str) -> JobKey | None:
    """Return the key of the job that a log belongs to, None where it is no job's."""
    match = LOG_PATH.fullmatch(log)
    if not match:
        return None
    chain, cycle, stage, shard = match.group("chain", "cycle", "stage", "shard")
    return JobKey(chain or "", int(cycle or 0), stage, shard or "")
