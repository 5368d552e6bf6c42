"""The overview at the top of the live page: jobs, pace, end, hours, stored scores, disk, reports.

Standard library only.
"""

import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from archloop.monitoring.live import ON_GPU, Live
from archloop.monitoring.live_cycles import CUT, DONE, FAILED, QUEUED, RUNNING, WAITING
from archloop.monitoring.status import TimeLeft
from archloop.quantities import duration, gigabytes, percent


class Item(NamedTuple):
    """One number of the overview: its name, its value, and a few words more. All are HTML."""

    name: str
    value: str
    more: str


def overview(live: Live, path: Path) -> str:
    """Return the overview as HTML; what the files do not tell is left out."""
    cells = []
    for item in _known_items(live, path):
        value = f"{item.value}<small>{item.more}</small>"
        cells.append(f"<div><dt>{item.name}</dt><dd>{value}</dd></div>")

    return "".join(cells)


def _known_items(live: Live, path: Path) -> Iterator[Item]:
    if live.jobs:
        yield _jobs_item(live)
    if live.an_hour is not None:
        yield Item("Judged an hour", f"{live.an_hour:.0f}", "candidates, in its last six hours")
    if live.left is not None:
        yield _end_item(live, live.left)
    if live.hours:
        yield _hours_item(live)
    reused = live.reused
    if reused.total:
        share = percent(reused.known / reused.total, digits=0)
        more = f"{reused.known} of {reused.total} judgements"
        yield Item("Answered from the store", share, more)

    free = gigabytes(live.disk.free, 0)
    total = gigabytes(live.disk.total, 0)
    yield Item("Disk", f"{free} free", f"of {total}")
    if live.reports:
        yield _reports_item(live, path)


def _jobs_item(live: Live) -> Item:
    jobs = live.jobs
    begun = []
    for state in (RUNNING, QUEUED, FAILED, CUT):
        count = jobs[state]
        if count:
            begun.append(f"{count} {state}")
    more = f"{jobs[WAITING]} to come"
    again = sum(failure.again for failure in live.records.failures)
    if again:
        more += f" · {again} tried again"
    if not begun:
        begun = [f"{jobs[DONE]} done"]
    return Item("Jobs", " · ".join(begun), more)


def _end_item(live: Live, left: TimeLeft) -> Item:
    unknown = ""
    if live.unknown:
        stages = ", ".join(live.unknown)
        unknown = f"; not counted: {stages}"
    if live.records.at_work is False:
        more = f"of work at least; no run is at it{unknown}"
        return Item("End", f"{duration(left.least_s)} left", more)
    least = moment(live.now + left.least_s)
    most = moment(live.now + left.most_s)
    more = "local time"
    if least != most:
        more = f"to {most}, one job after another"
    return Item("End", least, more + unknown)


def _hours_item(live: Live) -> Item:
    so_far = sum(live.hours.values())
    hours = f"{so_far:.1f}"
    if live.hours_planned:
        hours += f" of about {live.hours_planned:.1f}"
    of_stages = [live.hours.get(stage, 0.0) for stage in ON_GPU]
    on_gpu = sum(of_stages)
    where = f"{on_gpu:.1f} of them to write, judge, fine-tune"
    if live.device:
        where += f" ({escape(live.device)})"
    return Item("Hours of jobs", hours, where)


def _reports_item(live: Live, path: Path) -> Item:
    links, ages = [], []
    for report, when in live.reports.items():
        kind = "report" if report.parent.name == "report" else "partial report"
        link = _relative(report, path)
        links.append(f"<a href='{link}'>the {kind}</a>")
        age = duration(max(0, live.now - when))
        ages.append(f"{age} old")

    return Item("Read", " · ".join(links), " · ".join(ages))


def moment(seconds: float) -> str:
    """Return a time in this machine's time zone."""
    return time.strftime("%a %d %b %H:%M", time.localtime(seconds))


def _relative(target: Path, page: Path) -> str:
    """Return a link from the page to a file.

    It is relative where both lie in one folder, for the folder may be copied.
    """
    target = target.resolve()
    folder = page.resolve().parent
    if target.is_relative_to(folder):
        return escape(target.relative_to(folder).as_posix())
    return escape(target.as_uri())
