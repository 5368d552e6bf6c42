"""The live page: how a run goes, on one screen that reads itself again every minute, without a server.

It counts; it judges nothing. Standard library only.
"""

import math
import time
from collections.abc import Callable
from html import escape
from pathlib import Path

from archloop.files import write_text
from archloop.layout import PAGE, SETTINGS_FILE
from archloop.monitoring.live import ON_GPU, Live, gather
from archloop.monitoring.live_cycles import (
    CUT,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    WAITING,
    Cycle,
    mean_of,
    percent,
)
from archloop.monitoring.status import Job
from archloop.outcomes import NOT_VALID
from archloop.progress import duration, get_logger

NAME = "live.html"
STYLE = PAGE / "live.css"
REFRESH_S = 60
ERRORS, ALARMS, UNDER_WAY, FAILS = 5, 6, 8, 3  # how many of each are shown
WORDS = {
    "write_prompts": "prompts",
    "generate": "writing",
    "draw_families": "drawing",
    "evaluate": "judging",
}
WORDS |= {
    "admit": "admitting",
    "finetune": "fine-tuning",
    "summarize": "summing up",
    "transfer": "taking over",
}
DASHES = {"main": "", "frozen": "5 3", "random": "1.5 3"}
# The page may lie open for hours while nothing writes it; only the reader's clock knows.
SCRIPT = """
const written = Number(document.body.dataset.written) * 1000, minutes = Math.round((Date.now() - written) / 60000);
const age = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
if (minutes > 0) document.getElementById("age").textContent = `, ${age} ago`;
document.getElementById("old").hidden = minutes < 120 || document.body.dataset.over === "yes";
"""


def write_beside(summary: Path) -> None:
    """Write the page of the run that a cycle's summary belongs to; what stands in the way is logged, and ends nothing.

    A summary that was made by hand elsewhere belongs to no run, and writes none.
    """
    try:
        results = summary.absolute().parents[2]
        if (results / SETTINGS_FILE).is_file():
            write_page(results, results.parent / "logs", results / NAME)
    except Exception as error:  # a page for reading is worth no cycle
        get_logger("live").warning(
            "%s was not written: %s", NAME, " ".join(f"{error!r}".split())[:300]
        )


def write_page(
    results: Path, logs: Path, path: Path, ended: bool = False, planned: list[Job] | None = None
) -> None:
    """Write the page of a results folder.

    logs: the folder with the logs and benchmarks of its jobs. ended: the run is over, whoever holds its lock.
    planned: all jobs, where somebody has planned already.
    """
    write_text(path, page(gather(results, logs, ended=ended, planned=planned), path))


def page(live: Live, path: Path) -> str:
    """Return the page. path: where it will lie, which its links are seen from. All texts are escaped."""
    alarms = live.alarms[:ALARMS]
    if len(live.alarms) > ALARMS:
        alarms.append(f"And {len(live.alarms) - ALARMS} more.")
    # It is there without a script too, hidden: only the reader's clock can tell that it holds.
    old = "<p class='alarms' id='old' hidden><strong>Nothing has written this page for two hours.</strong></p>"
    loud = f"<ul class='alarms' role='alert'>{_items(alarms)}</ul>" if alarms else ""
    main = f"<div>{_strips(live)}</div><div>{_under_way(live)}{_yields(live)}{_errors(live)}</div>"
    over = "yes" if live.finished or live.records.at_work is False else "no"
    title = f"{escape(live.results.resolve().parent.name)}: {_headline(live)}"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='refresh' content='{REFRESH_S}'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'><link rel='icon' href='data:,'>"
        f"<title>{title}</title>\n<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body data-written='{live.now:.0f}' data-over='{over}'>\n"
        f"<header><h1>{title}</h1><span class='muted'>as of {_moment(live.now)}<span id='age'></span>; written after"
        " each cycle, or by <code>python scripts/status.py --html results/live.html</code></span></header>\n"
        f"{loud}{old}\n<dl>{_facts(live, path)}</dl>\n<main>{main}</main>\n<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _headline(live: Live) -> str:
    if live.finished:
        return "finished"
    if not live.jobs:
        return "nothing is known of what it is to do"
    at_work = {True: "at work", False: "not at work now", None: "unfinished"}[live.records.at_work]
    return f"{at_work}, {live.jobs[DONE]} of {sum(live.jobs.values())} jobs done"


def _facts(live: Live, path: Path) -> str:
    """Return the row of small facts; one that the files do not tell is left out."""
    jobs, found = live.jobs, []
    if jobs:
        begun = " · ".join(
            f"{jobs[name]} {name}" for name in (RUNNING, QUEUED, FAILED, CUT) if jobs[name]
        )
        again = sum(each.again for each in live.records.failures)
        more = f"{jobs[WAITING]} to come" + (f" · {again} tried again" if again else "")
        found.append(("Jobs", begun or f"{jobs[DONE]} done", more))
    if live.an_hour is not None:
        found.append(("Judged an hour", f"{live.an_hour:.0f}", "candidates, in its last six hours"))
    if live.left is not None:
        found.append(("End", *_end(live)))
    if live.hours:
        held = sum(hours for stage, hours in live.hours.items() if stage in ON_GPU)
        where = f"{held:.1f} of them to write, judge, fine-tune"
        where += f" ({escape(live.device)})" if live.device else ""
        planned = f" of about {live.hours_planned:.1f}" if live.hours_planned else ""
        found.append(("Hours of jobs", f"{sum(live.hours.values()):.1f}{planned}", where))
    if live.reused[1]:
        share = percent(live.reused[0] / live.reused[1])
        found.append(
            ("Answered from the store", share, f"{live.reused[0]} of {live.reused[1]} judgements")
        )
    found.append(("Disk", f"{live.disk[0] / 1e9:.0f} GB free", f"of {live.disk[1] / 1e9:.0f} GB"))
    links, ages = [], []
    for report, when in live.reports.items():
        kind = "report" if report.parent.name == "report" else "partial report"
        links.append(f"<a href='{_relative(report, path)}'>the {kind}</a>")
        ages.append(f"{duration(max(0, live.now - when))} old")
    if links:
        found.append(("Read", " · ".join(links), " · ".join(ages)))
    return "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>"
        for name, value, more in found
    )


def _end(live: Live) -> tuple[str, str]:
    """Return (when it ends, with what in mind)."""
    least, most = (_moment(live.now + seconds) for seconds in live.left)
    unknown = f"; not counted: {', '.join(live.unknown)}" if live.unknown else ""
    if live.records.at_work is False:
        return f"{duration(live.left[0])} left", f"of work at least; no run is at it{unknown}"
    return least, (f"to {most}, one job after another" if least != most else "local time") + unknown


def _strips(live: Live) -> str:
    rows = []
    for name, cycles in live.chains.items():
        done = sum(cycle.state == DONE for cycle in cycles)
        open_ones = [
            cycle
            for cycle in cycles
            if cycle.state != DONE and (cycle.state != WAITING or cycle.stage)
        ]
        # What runs is told before what waits, though it be a later cycle: a control's cycles go side by side.
        at = min(open_ones, key=lambda cycle: (cycle.state == WAITING, cycle.number), default=None)
        if done == len(cycles):
            words = "done"
        elif at is None:
            words = f"{done} of {len(cycles)} done" if done else "waiting"
        else:
            words = f"{done} of {len(cycles)} done; cycle {at.number}: {_state(at, brief=True)}"
        boxes = "".join(_box(cycle) for cycle in cycles)
        rows.append(
            f"<tr><th scope='row'>{escape(name)}</th><td class='strip' aria-hidden='true'>{boxes}</td>"
        )
        rows.append(f"<td>{escape(words)}</td></tr>")
    head = "<tr><th scope='col'>chain</th><th scope='col' aria-hidden='true'>cycles</th><th scope='col'>state</th></tr>"
    note = "<p class='muted'>Filled: done. Framed: running. Dashed: in the queue, or cut off. Red with !: failed.</p>"
    return f"<section><h2>Chains</h2><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>{note}</section>"


def _box(cycle: Cycle) -> str:
    words = f"cycle {cycle.number}: {_state(cycle)}"
    return f"<i class='{cycle.state}' title='{escape(words)}'>{'!' if cycle.state == FAILED else ''}</i>"


def _state(cycle: Cycle, brief: bool = False) -> str:
    stage, comma, rest = cycle.stage.partition(",")
    words = WORDS.get(stage, stage.replace("_", " ")) + comma + rest
    if brief and cycle.state == RUNNING:
        return words
    state = "next" if cycle.state == WAITING and words else cycle.state
    return f"{state}, {words}" if words else state


def _under_way(live: Live) -> str:
    """Return the funnels of the cycles that are being judged, beside those of the last finished ones."""
    rows, has_past = [], False
    for name, cycles in live.chains.items():
        for at, cycle in enumerate(cycles):
            if cycle.state != DONE and cycle.counts:
                before = [each for each in cycles[:at] if each.state == DONE and each.judged]
                rows.append(_funnel(name, cycle, before))
                has_past = has_past or bool(before)
    more = (
        f"<p class='muted'>and {len(rows) - UNDER_WAY} more chains</p>"
        if len(rows) > UNDER_WAY
        else ""
    )
    if not rows:
        return ""
    names = ("chain", "cycle", "judged", "valid", "most fail at")
    head = "".join(f"<th scope='col'>{name}</th>" for name in names)
    table = (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows[:UNDER_WAY])}</tbody></table>"
    )
    title = "Judged so far in cycles under way"
    title += " <small>(in brackets: the last three cycles)</small>" if has_past else ""
    return f"<section><h2>{title}</h2>{table}{more}</section>"


def _funnel(name: str, cycle: Cycle, before: list[Cycle]) -> str:
    """Return the row of a cycle under way; in brackets what the last three finished ones came to in the end."""

    def usual(count: Callable[[Cycle], int]) -> str:
        words = mean_of(before, count)
        return f" ({words})" if words else ""

    told = []
    for count, reason in sorted(
        ((cycle.counts.get(each, 0), each) for each in NOT_VALID), reverse=True
    )[:FAILS]:
        before_it = usual(lambda each, reason=reason: each.counts[reason])
        told += (
            [f"{reason.replace('_', ' ')} {percent(count / cycle.judged)}{before_it}"]
            if count
            else []
        )
    cells = [
        str(cycle.number),
        f"{cycle.judged} of {cycle.planned}" if cycle.planned else str(cycle.judged),
    ]
    cells += [
        percent(cycle.valid / cycle.judged) + usual(lambda each: each.valid),
        ", ".join(told) or "none",
    ]
    return f"<tr><th scope='row'>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _yields(live: Live) -> str:
    """Return the picture of what was admitted of 100, by cycle, for the loop and its controls."""
    if not live.yields:
        return ""
    last = max(max(line) for line in live.yields.values())
    top = max(1.0, *(max(line.values()) for line in live.yields.values()))
    lines, words, height = [], [], -math.inf
    ends = {role: 132 - 120 * list(line.values())[-1] / top for role, line in live.yields.items()}
    for role in sorted(ends, key=ends.get):
        line = live.yields[role]
        newest, height = (
            list(line.values())[-1],
            max(ends[role], height + 15),
        )  # no label lies on another
        points = [
            (40 + 400 * (cycle - 1) / max(1, last - 1), 132 - 120 * share / top)
            for cycle, share in line.items()
        ]
        shape = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "h3"
        lines.append(f"<path d='{shape}M456 {height:.1f}h24' stroke-dasharray='{DASHES[role]}'/>")
        lines.append(f"<text x='486' y='{height + 4:.1f}'>{role} {newest:.0f}</text>")
        words.append(f"{role} {newest:.0f} in cycle {list(line)[-1]}")
    axes = (
        "<line x1='40' y1='132' x2='440' y2='132'/><text x='34' y='136' text-anchor='end'>0</text>"
    )
    axes += (
        f"<text x='34' y='16' text-anchor='end'>{top:.0f}</text><text x='40' y='150'>cycle 1</text>"
    )
    axes += f"<text x='440' y='150' text-anchor='end'>{last}</text>" if last > 1 else ""
    label = f"Admitted of 100 generated: {'; '.join(words)}"
    note = "the result is in the report" if live.finished else "not a result: unfinished"
    picture = (
        f"<svg viewBox='0 0 560 156' role='img' aria-label='{label}'>{axes}{''.join(lines)}</svg>"
    )
    return f"<section><h2>Admitted of 100 generated, by cycle <small>({note})</small></h2>{picture}</section>"


def _errors(live: Live) -> str:
    failures = live.records.failures[-ERRORS:]
    if not failures:
        return ""
    items = []
    for each in reversed(failures):
        fate = (
            "ended well later"
            if each.mended
            else "tried again"
            if each.again
            else "failed for good"
        )
        reason = escape(each.reason) or "its log tells no reason, or the next attempt wrote over it"
        items.append(
            f"<li>{escape(each.rule)}, {fate}: {reason} <code>{escape(each.log)}</code></li>"
        )
    count = len(live.records.failures)
    head = f"Failed attempts: {count}" + (f"; the last {ERRORS}" if count > ERRORS else "")
    return f"<section><h2>{head}</h2><ul class='errors'>{''.join(items)}</ul></section>"


def _items(lines: list[str]) -> str:
    return "".join(f"<li>{escape(line)}</li>" for line in lines)


def _moment(seconds: float) -> str:
    """Return a time as the clock on this machine's wall shows it."""
    return time.strftime("%a %d %b %H:%M", time.localtime(seconds))


def _relative(target: Path, page: Path) -> str:
    """Return a link from the page to a file: relative where both lie in one folder, for the folder may be copied."""
    target, folder = target.resolve(), page.resolve().parent
    return escape(
        target.relative_to(folder).as_posix() if target.is_relative_to(folder) else target.as_uri()
    )
