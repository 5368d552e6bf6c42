"""What Snakemake's own records tell of a run: whether it is at work, what it began, what failed.

A log of Snakemake, its marks of unfinished outputs and the lock on the results are read, none of
them changed. Whatever is missing, cut off or strange is left out. Standard library only.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from archloop.errors import one_line
from archloop.layout import LOCK
from archloop.monitoring.snakemake_log import STAMP, Attempt, failed_attempts, seconds
from archloop.texts import visible
from archloop.workflow.snakemake_records import FOLDER, outputs_in

# A log of another command than a run (a report, a lint) may be newer than the run's.
LOGS_LOOKED_AT = 5
LONGEST_LOG = 2**25  # bytes
LONGEST_TAIL = 2**14  # bytes
LONGEST_REASON = 300  # characters
# What our logger puts before a message.
LOGGED = re.compile(r"^\s*([\d-]{10} [\d:,]+ [A-Z]+ [\w.]+: )?(error: )?")
TELLS_OF_AN_ERROR = re.compile(r"error|killed|cancelled", re.IGNORECASE)
# A log that was written to so long after its job had failed is that of the next attempt.
OVERWRITTEN_S = 30


@dataclass(frozen=True)
class FailedAttempt:
    """One failed attempt of a job.

    job: its number in the log of Snakemake. log: the path of its own. again: another attempt
    followed. mended: that one, or a later one, ended well.
    """

    job: str
    rule: str
    log: str
    reason: str
    again: bool = False
    mended: bool = False


@dataclass(frozen=True)
class LiveRecords:
    """What is known of the newest run.

    at_work: None where this machine cannot know. marks: unfinished output -> when its job began.
    """

    at_work: bool | None
    started: float | None
    marks: dict[str, float]
    failures: list[FailedAttempt]

    @property
    def lost(self) -> list[FailedAttempt]:
        """The attempts that no other followed, nor mended."""
        lost = []
        for failure in self.failures:
            if not failure.again and not failure.mended:
                lost.append(failure)
        return lost


def read_live_records(results: Path) -> LiveRecords:
    """Return what there is to read about the newest run; times in seconds since 1970."""
    folder = results.resolve().parent
    text = _newest_log(folder / FOLDER / "log")
    stamp = STAMP.search(text)

    return LiveRecords(
        at_work=_at_work(results, text),
        started=seconds(stamp[1]) if stamp else None,
        marks=_marks(folder),
        failures=failures_of_run(text, folder),
    )


def _at_work(results: Path, log: str) -> bool | None:
    """Tell whether a run is at work; None where it may be so on another machine."""
    if is_held(results / LOCK):
        return True
    host = re.search(r"^ *Host: (.*)$", log, re.MULTILINE)
    here = os.uname().nodename
    if host and host[1].strip() == here:
        return False
    return None


def is_held(lock: Path, table: Path = Path("/proc/locks")) -> bool:
    """Tell whether a process of this machine holds a file's lock.

    It is not taken, not even for a moment, from one that wants it.
    """
    try:
        inode = lock.stat().st_ino
        lines = table.read_text().splitlines()
    except OSError:
        return False

    # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1315210 0 EOF
    for line in lines:
        # An arrow marks a process that waits for the lock.
        is_lock = " FLOCK " in line and "->" not in line
        files = [part for part in line.split()[4:6] if part.endswith(f":{inode}")]
        if is_lock and files:
            return True

    return False


def failures_of_run(text: str, folder: Path) -> list[FailedAttempt]:
    """Return the failed attempts that a log of Snakemake tells of, in their order.

    folder: the one that Snakemake ran in, which paths of logs are seen from.
    """
    return [_failure(attempt, folder) for attempt in failed_attempts(text)]


def _failure(attempt: Attempt, folder: Path) -> FailedAttempt:
    reasons = []
    message = attempt.values.get("message", "None")
    if message not in ("", "None"):
        reasons.append(message)

    followed = attempt.when if attempt.again else None
    for path in attempt.logs:
        error = _last_error(folder / path, followed)
        if error:
            reasons.append(error)
            break

    reason = one_line("; ".join(reasons))
    return FailedAttempt(
        job=attempt.job,
        rule=visible(attempt.rule),
        log=visible(attempt.logs[0]) if attempt.logs else "",
        reason=visible(reason)[:LONGEST_REASON],
        again=attempt.again,
        mended=attempt.mended,
    )


def _last_error(log: Path, failed: float | None) -> str:
    """Return the last line of a log that tells of an error, else its last line.

    failed: when an attempt failed that another followed, which may have written over the log; then
    there is none.
    """
    try:
        written = log.stat().st_mtime
        if failed is not None and written > failed + OVERWRITTEN_S:
            return ""
        text = _tail(log, LONGEST_TAIL)
    except OSError:
        return ""

    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    errors = [line for line in lines if TELLS_OF_AN_ERROR.search(line)]
    last = errors[-1] if errors else lines[-1]
    return LOGGED.sub("", last)


def _newest_log(folder: Path) -> str:
    """Return the log of the newest run; other commands leave logs there too."""
    # Their names begin with the time.
    newest_first = sorted(folder.glob("*.snakemake.log"), reverse=True)
    for path in newest_first[:LOGS_LOOKED_AT]:
        try:
            text = _tail(path, LONGEST_LOG)
        except OSError:
            continue

        if "Select jobs to execute" in text:
            return text

    return ""


def _tail(path: Path, size: int) -> str:
    with open(path, "rb") as opened:
        start = os.fstat(opened.fileno()).st_size - size
        opened.seek(max(0, start))
        return opened.read(size).decode("utf-8", errors="backslashreplace")


def _marks(folder: Path) -> dict[str, float]:
    marks = {}
    for output, path in outputs_in(folder / FOLDER / "incomplete"):
        try:
            marks[output] = os.stat(path).st_mtime  # noqa: PTH116
        except OSError:  # its job has just ended
            continue

    return marks
