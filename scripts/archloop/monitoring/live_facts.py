"""The small facts at the top of the live page: jobs, pace, end, hours, known scores, disk, reports.

Standard library only.
"""

import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from archloop.monitoring.live import ON_GPU, Live
from archloop.monitoring.live_cycles import CUT, DONE, FAILED, QUEUED, RUNNING, WAITING, percent
from archloop.progress import duration


class Fact(NamedTuple):
    """One small fact: its name, its value, and a few words more. All are HTML."""

    name: str
    value: str
    more: str


def facts(live: Live, path: Path) -> str:
    """Return the row of small facts; one that the files do not tell is left out."""
    items = []
    for fact in _known_facts(live, path):
        value = f"{fact.value}<small>{fact.more}</small>"
        items.append(f"<div><dt>{fact.name}</dt><dd>{value}</dd></div>")

    return "".join(items)


def _known_facts(live: Live, path: Path) -> Iterator[Fact]:
    if live.jobs:
        yield _jobs_fact(live)
    if live.an_hour is not None:
        yield Fact("Judged an hour", f"{live.an_hour:.0f}", "candidates, in its last six hours")
    if live.left is not None:
        yield _end_fact(live, *live.left)
    if live.hours:
        yield _hours_fact(live)
    reused, total = live.reused
    if total:
        share = percent(reused / total)
        yield Fact("Answered from the store", share, f"{reused} of {total} judgements")

    free, size = live.disk
    yield Fact("Disk", f"{_gigabytes(free)} free", f"of {_gigabytes(size)}")
    if live.reports:
        yield _reports_fact(live, path)


def _jobs_fact(live: Live) -> Fact:
    jobs = live.jobs
    begun = []
    for state in (RUNNING, QUEUED, FAILED, CUT):
        if jobs[state]:
            begun.append(f"{jobs[state]} {state}")
    more = f"{jobs[WAITING]} to come"
    again = sum(failure.again for failure in live.records.failures)
    if again:
        more += f" · {again} tried again"
    return Fact("Jobs", " · ".join(begun) or f"{jobs[DONE]} done", more)


def _end_fact(live: Live, least_s: float, most_s: float) -> Fact:
    unknown = f"; not counted: {', '.join(live.unknown)}" if live.unknown else ""
    if live.records.at_work is False:
        more = f"of work at least; no run is at it{unknown}"
        return Fact("End", f"{duration(least_s)} left", more)
    least, most = moment(live.now + least_s), moment(live.now + most_s)
    more = "local time" if least == most else f"to {most}, one job after another"
    return Fact("End", least, more + unknown)


def _hours_fact(live: Live) -> Fact:
    hours = f"{sum(live.hours.values()):.1f}"
    if live.hours_planned:
        hours += f" of about {live.hours_planned:.1f}"
    on_gpu = sum(live.hours.get(stage, 0.0) for stage in ON_GPU)
    where = f"{on_gpu:.1f} of them to write, judge, fine-tune"
    if live.device:
        where += f" ({escape(live.device)})"
    return Fact("Hours of jobs", hours, where)


def _reports_fact(live: Live, path: Path) -> Fact:
    links, ages = [], []
    for report, when in live.reports.items():
        kind = "report" if report.parent.name == "report" else "partial report"
        links.append(f"<a href='{_relative(report, path)}'>the {kind}</a>")
        ages.append(f"{duration(max(0, live.now - when))} old")

    return Fact("Read", " · ".join(links), " · ".join(ages))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.0f} GB"


def moment(seconds: float) -> str:
    """Return a time as the clock on this machine's wall shows it."""
    return time.strftime("%a %d %b %H:%M", time.localtime(seconds))


def _relative(target: Path, page: Path) -> str:
    """Return a link from the page to a file.

    It is relative where both lie in one folder, for the folder may be copied.
    """
    target, folder = target.resolve(), page.resolve().parent
    if target.is_relative_to(folder):
        return escape(target.relative_to(folder).as_posix())
    return escape(target.as_uri())
