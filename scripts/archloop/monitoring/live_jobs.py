"""What Snakemake's own records tell of a run: whether it is at work, which jobs it began, which failed and why.

A log of Snakemake, its marks of unfinished outputs and the lock on the results are read, none of them changed. Whatever
is missing, cut off or strange is left out. Standard library only.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from archloop.errors import one_line
from archloop.monitoring.snakemake_log import STAMP, Attempt, failed_attempts, seconds
from archloop.texts import visible
from archloop.workflow.snakemake_records import FOLDER, outputs_in

LOCK = ".lock"  # the workflow holds it while a run is at work; see rules/records.smk
LOGS_LOOKED_AT = (
    5  # a log of another command than a run (a report, a lint) may be newer than the run's
)
LONGEST_LOG, LONGEST_TAIL, LONGEST_REASON = 2**25, 2**14, 300  # bytes, bytes, characters
LOGGED = re.compile(
    r"^\s*([\d-]{10} [\d:,]+ [A-Z]+ [\w.]+: )?(error: )?"
)  # what our logger puts before a message
OVERWRITTEN_S = (
    30  # a log that was written to so long after its job had failed is that of the next attempt
)


@dataclass(frozen=True)
class Failure:
    """One failed attempt of a job: its number in the log, its log's path, why, and whether it was tried again."""

    job: str
    rule: str
    log: str
    reason: str
    again: bool = False
    mended: bool = False


@dataclass(frozen=True)
class Records:
    """at_work: None where this machine cannot know. marks: unfinished output -> when its job was begun."""

    at_work: bool | None
    started: float | None
    marks: dict[str, float]
    failures: list[Failure]


def read_records(results: Path) -> Records:
    """Return what there is to read about the newest run; times in seconds since 1970."""
    folder = results.resolve().parent
    text = _newest_log(folder / FOLDER / "log")
    stamp, host = STAMP.search(text), re.search(r"^ *Host: (.*)$", text, re.MULTILINE)
    at_work = is_held(results / LOCK)
    if not at_work and (host is None or host[1].strip() != os.uname().nodename):
        at_work = None
    return Records(
        at_work, seconds(stamp[1]) if stamp else None, _marks(folder), failures(text, folder)
    )


def is_held(lock: Path, table: Path = Path("/proc/locks")) -> bool:
    """Tell whether a process of this machine holds a file's lock, without taking it from one that wants it."""
    try:
        inode = lock.stat().st_ino
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1315210 0 EOF
        held = [
            line.split()
            for line in table.read_text().splitlines()
            if " FLOCK " in line and "->" not in line
        ]
    except OSError:
        return False
    return any(part.endswith(f":{inode}") for line in held for part in line[4:6])


def failures(text: str, folder: Path) -> list[Failure]:
    """Return the failed attempts that a log of Snakemake tells of, in their order.

    folder: the one that Snakemake ran in, which paths of logs are seen from.
    """
    return [_failure(each, folder) for each in failed_attempts(text)]


def _failure(attempt: Attempt, folder: Path) -> Failure:
    message = attempt.values.get("message", "None")
    errors = (
        _last_error(folder / path, attempt.when if attempt.again else None) for path in attempt.logs
    )
    reasons = [
        text
        for text in ("" if message == "None" else message, next(filter(None, errors), ""))
        if text
    ]
    return Failure(
        job=attempt.job,
        rule=visible(attempt.rule),
        log=visible(attempt.logs[0]) if attempt.logs else "",
        reason=visible(one_line("; ".join(reasons)))[:LONGEST_REASON],
        again=attempt.again,
        mended=attempt.mended,
    )


def _last_error(log: Path, failed: float | None) -> str:
    """Return the last line of a log that tells of an error, else its last line.

    failed: when an attempt failed that another followed, which may have written over the log; then there is none.
    """
    try:
        if failed is not None and log.stat().st_mtime > failed + OVERWRITTEN_S:
            return ""
        lines = [line for line in _tail(log, LONGEST_TAIL).splitlines() if line.strip()]
    except OSError:
        return ""
    errors = [line for line in lines if re.search(r"error|killed|cancelled", line, re.IGNORECASE)]
    return LOGGED.sub("", (errors or lines or [""])[-1])


def _newest_log(folder: Path) -> str:
    """Return the log of the newest run; other commands leave logs there too."""
    for path in sorted(folder.glob("*.snakemake.log"), reverse=True)[:LOGS_LOOKED_AT]:
        try:
            text = _tail(path, LONGEST_LOG)
        except OSError:
            continue
        if "Select jobs to execute" in text:
            return text
    return ""


def _tail(path: Path, size: int) -> str:
    with open(path, "rb") as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - size))
        return opened.read(size).decode("utf-8", errors="backslashreplace")


def _marks(folder: Path) -> dict[str, float]:
    found = {}
    for output, path in outputs_in(folder / FOLDER / "incomplete"):
        try:
            found[output] = os.stat(path).st_mtime  # noqa: PTH116
        except OSError:  # its job has just ended
            continue
    return found
