"""The failed attempts that Snakemake's own log of a run tells of. Standard library only."""

import re
import time
from dataclasses import dataclass

TIME = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"
STAMP = re.compile(rf"\[({TIME})\]")
# What begins a record of the log; a message in one may hold lines that begin at column 0, too.
RECORD = re.compile(
    rf"^(?=\[{TIME}\]$|Error in (?:rule|group)|Finished jobid: |Trying to restart job \d+\.$)",
    re.MULTILINE,
)
RESTARTED = re.compile(r"Trying to restart job (\d+)\.")
FINISHED = re.compile(r"Finished jobid: (\d+)")
# A key with all lines of its value.
VALUE = re.compile(r"^ {4}(\w+): (.*(?:\n(?! {4}\w+:(?: |$)|$).*)*)", re.MULTILINE)


@dataclass
class Attempt:
    """A failed attempt of a job.

    values: the keys of its record. when: seconds since 1970, None where unknown. again: another
    attempt followed. mended: that one, or a later one, ended well.
    """

    rule: str
    job: str
    logs: list[str]
    values: dict[str, str]
    when: float | None
    again: bool = False
    mended: bool = False


def failed_attempts(text: str) -> list[Attempt]:
    """Return the failed attempts in a log of Snakemake, in their order."""
    attempts: list[Attempt] = []
    when = None
    for record in RECORD.split(text):
        first = record.partition("\n")[0]
        if stamp := STAMP.fullmatch(first):
            when = seconds(stamp[1])
        elif restarted := RESTARTED.fullmatch(first):
            attempt = _last(attempts, restarted[1])
            if attempt:
                attempt.again = True
        elif finished := FINISHED.match(first):
            attempt = _last(attempts, finished[1])
            if attempt:
                attempt.mended = True
        elif first.startswith("Error in rule "):
            rule = first.removeprefix("Error in rule ").rstrip().rstrip(":")
            attempts.append(_attempt(rule, record, when))

    return attempts


def seconds(stamp: str) -> float | None:
    """Return a time of the log in seconds since 1970."""
    try:
        return time.mktime(time.strptime(stamp, "%a %b %d %H:%M:%S %Y"))
    except (ValueError, OverflowError):
        return None


def _attempt(rule: str, record: str, when: float | None) -> Attempt:
    values = dict(VALUE.findall(record))
    job = values.get("jobid", "").partition("\n")[0].strip()
    logs = re.sub(r" \(check log file.*", "", values.get("log", "").partition("\n")[0])

    return Attempt(
        rule=rule,
        job=job,
        logs=[name for name in logs.split(", ") if name],
        values=values,
        when=when,
    )


def _last(attempts: list[Attempt], job: str) -> Attempt | None:
    """Return the last attempt of a job."""
    for attempt in reversed(attempts):
        if attempt.job == job:
            return attempt

    return None
