"""The live page: how a run goes, on one screen that reads itself again every minute, without a server.

It counts; it judges nothing. Standard library only.
"""

import math
from collections.abc import Callable
from html import escape
from pathlib import Path

from archloop.errors import LONGEST_LINE, one_line
from archloop.files import write_text
from archloop.layout import PAGE, SETTINGS_FILE
from archloop.logs import get_logger
from archloop.monitoring.live import Live, gather
from archloop.monitoring.live_cycles import (
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    Cycle,
    mean_of,
    percent,
)
from archloop.monitoring.live_facts import facts, moment
from archloop.monitoring.live_jobs import Failure
from archloop.outcomes import NOT_VALID
from archloop.settings.planned_files import Job

NAME = "live.html"
STYLE = PAGE / "live.css"
REFRESH_S = 60
ERRORS, ALARMS, UNDER_WAY, FAILS = 5, 6, 8, 3  # how many of each are shown
# What a stage does, where its name does not say it.
WORDS = {
    "write_prompts": "prompts",
    "generate": "writing",
    "draw_families": "drawing",
    "evaluate": "judging",
    "admit": "admitting",
    "finetune": "fine-tuning",
    "summarize": "summing up",
    "transfer": "taking over",
}
# The picture of yields, in pixels: where its axes begin and end, and how far labels lie apart.
LEFT, RIGHT = 40, 440
BOTTOM, HEIGHT = 132, 120
LABEL_HEIGHT = 15
DASHES = {
    "main": "",
    "frozen": "5 3",
    "random": "1.5 3",
}
# The page may lie open for hours while nothing writes it; only the reader's clock knows.
SCRIPT = """
const written = Number(document.body.dataset.written) * 1000, minutes = Math.round((Date.now() - written) / 60000);
const age = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
if (minutes > 0) document.getElementById("age").textContent = `, ${age} ago`;
document.getElementById("old").hidden = minutes < 120 || document.body.dataset.over === "yes";
"""


def write_beside(summary: Path) -> None:
    """Write the page of the run that a cycle's summary belongs to.

    What stands in the way is logged, and ends nothing. A summary that was made by hand elsewhere
    belongs to no run, and writes none.
    """
    try:
        results = summary.absolute().parents[2]
        if (results / SETTINGS_FILE).is_file():
            write_page(results, results.parent / "logs", results / NAME)
    except Exception as error:  # a page for reading is worth no cycle
        get_logger("live").warning(
            "%s was not written: %s", NAME, one_line(repr(error))[:LONGEST_LINE]
        )


def write_page(
    results: Path, logs: Path, path: Path, ended: bool = False, planned: list[Job] | None = None
) -> None:
    """Write the page of a results folder.

    logs: the folder with the logs and benchmarks of its jobs. ended: the run is over, whoever holds
    its lock. planned: all jobs, where somebody has planned already.
    """
    write_text(path, page(gather(results, logs, ended=ended, planned=planned), path))


def page(live: Live, path: Path) -> str:
    """Return the page; all texts in it are escaped.

    path: where it will lie, which its links are seen from.
    """
    alarms = live.alarms[:ALARMS]
    if len(live.alarms) > ALARMS:
        alarms.append(f"And {len(live.alarms) - ALARMS} more.")

    # It is there without a script too, hidden: only the reader's clock can tell that it holds.
    old = (
        "<p class='alarms' id='old' hidden><strong>Nothing has written this page for two hours."
        "</strong></p>"
    )
    loud = f"<ul class='alarms' role='alert'>{_items(alarms)}</ul>" if alarms else ""
    main = f"<div>{_strips(live)}</div><div>{_under_way(live)}{_yields(live)}{_errors(live)}</div>"
    over = "yes" if live.finished or live.records.at_work is False else "no"
    title = f"{escape(live.results.resolve().parent.name)}: {_headline(live)}"

    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='refresh' content='{REFRESH_S}'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<link rel='icon' href='data:,'>"
        f"<title>{title}</title>\n<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body data-written='{live.now:.0f}' data-over='{over}'>\n"
        f"<header><h1>{title}</h1><span class='muted'>as of {moment(live.now)}<span id='age'></span>;"
        " written after each cycle, or by"
        " <code>python scripts/status.py --html results/live.html</code></span></header>\n"
        f"{loud}{old}\n<dl>{facts(live, path)}</dl>\n<main>{main}</main>\n"
        f"<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _headline(live: Live) -> str:
    if live.finished:
        return "finished"
    if not live.jobs:
        return "nothing is known of what it is to do"
    at_work = {True: "at work", False: "not at work now", None: "unfinished"}[live.records.at_work]
    return f"{at_work}, {live.jobs[DONE]} of {sum(live.jobs.values())} jobs done"


def _strips(live: Live) -> str:
    rows = []
    for name, cycles in live.chains.items():
        boxes = "".join(map(_box, cycles))
        rows.append(
            f"<tr><th scope='row'>{escape(name)}</th>"
            f"<td class='strip' aria-hidden='true'>{boxes}</td>"
            f"<td>{escape(_progress(cycles))}</td></tr>"
        )

    head = _head(["chain", "cycles", "state"], hidden="cycles")
    note = (
        "<p class='muted'>Filled: done. Framed: running. Dashed: in the queue, or cut off. Red with"
        " !: failed.</p>"
    )
    table = f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"
    return f"<section><h2>Chains</h2>{table}{note}</section>"


def _progress(cycles: list[Cycle]) -> str:
    """Return how far a chain is, and what it is at."""
    done = sum(cycle.state == DONE for cycle in cycles)
    if done == len(cycles):
        return "done"

    begun = [
        cycle for cycle in cycles if cycle.state != DONE and (cycle.state != WAITING or cycle.stage)
    ]
    if not begun:
        return f"{done} of {len(cycles)} done" if done else "waiting"

    # What runs is said before what waits, though it be a later cycle: a control's cycles go side by
    # side.
    now = min(begun, key=lambda cycle: (cycle.state == WAITING, cycle.number))
    state = _state(now, brief=True)
    return f"{done} of {len(cycles)} done; cycle {now.number}: {state}"


def _box(cycle: Cycle) -> str:
    words = escape(f"cycle {cycle.number}: {_state(cycle)}")
    mark = "!" if cycle.state == FAILED else ""
    return f"<i class='{cycle.state}' title='{words}'>{mark}</i>"


def _state(cycle: Cycle, brief: bool = False) -> str:
    stage, comma, rest = cycle.stage.partition(",")
    words = WORDS.get(stage, stage.replace("_", " ")) + comma + rest
    if brief and cycle.state == RUNNING:
        return words
    state = "next" if cycle.state == WAITING and words else cycle.state
    return f"{state}, {words}" if words else state


def _under_way(live: Live) -> str:
    """Return the funnels of the cycles that are being judged, beside those of the last finished."""
    rows, has_past = [], False
    for name, cycles in live.chains.items():
        for index, cycle in enumerate(cycles):
            if cycle.state != DONE and cycle.counts:
                before = [past for past in cycles[:index] if past.state == DONE and past.judged]
                rows.append(_funnel(name, cycle, before))
                has_past = has_past or bool(before)

    if not rows:
        return ""

    title = "Judged so far in cycles under way"
    if has_past:
        title += " <small>(in brackets: the last three cycles)</small>"
    more = ""
    if len(rows) > UNDER_WAY:
        more = f"<p class='muted'>and {len(rows) - UNDER_WAY} more chains</p>"
    head = _head(["chain", "cycle", "judged", "valid", "most fail at"])
    table = f"<table>{head}<tbody>{''.join(rows[:UNDER_WAY])}</tbody></table>"
    return f"<section><h2>{title}</h2>{table}{more}</section>"


def _head(names: list[str], hidden: str = "") -> str:
    """Return the head of a table. hidden: the column of pictures, which no screen reader reads."""
    cells = []
    for name in names:
        attribute = " aria-hidden='true'" if name == hidden else ""
        cells.append(f"<th scope='col'{attribute}>{name}</th>")

    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _funnel(name: str, cycle: Cycle, before: list[Cycle]) -> str:
    """Return the row of a cycle under way.

    In brackets is what the last three finished ones came to in the end.
    """
    counts = [(cycle.counts.get(check, 0), check) for check in NOT_VALID]
    failed = []
    for count, check in sorted(counts, reverse=True)[:FAILS]:
        if count:
            usual = _in_brackets(before, _counter_of(check))
            name_of_check, share = check.replace("_", " "), percent(count / cycle.judged)
            failed.append(f"{name_of_check} {share}{usual}")

    judged = f"{cycle.judged} of {cycle.planned}" if cycle.planned else str(cycle.judged)
    valid = percent(cycle.valid / cycle.judged)
    cells = [
        str(cycle.number),
        judged,
        valid + _in_brackets(before, lambda past: past.valid),
        ", ".join(failed) or "none",
    ]

    row = "</td><td>".join(map(escape, cells))
    return f"<tr><th scope='row'>{escape(name)}</th><td>{row}</td></tr>"


def _counter_of(check: str) -> Callable[[Cycle], int]:
    return lambda cycle: cycle.counts[check]


def _in_brackets(before: list[Cycle], count: Callable[[Cycle], int]) -> str:
    words = mean_of(before, count)
    return f" ({words})" if words else ""


def _yields(live: Live) -> str:
    """Return the picture of what was admitted of 100, by cycle, for the loop and its controls."""
    if not live.yields:
        return ""

    last, top = 1, 1.0
    newest = {}
    for role, line in live.yields.items():
        last, top = max(last, *line), max(top, *line.values())
        newest[role] = line[max(line)]

    lines, words, label_y = [], [], -math.inf
    for role in sorted(newest, key=lambda role: _y(newest[role], top)):
        # No label lies on another.
        label_y = max(_y(newest[role], top), label_y + LABEL_HEIGHT)
        points = []
        for cycle, share in live.yields[role].items():
            x = LEFT + (RIGHT - LEFT) * (cycle - 1) / max(1, last - 1)
            points.append(f"{x:.1f} {_y(share, top):.1f}")

        shape = f"M{'L'.join(points)}h3M456 {label_y:.1f}h24"
        lines.append(f"<path d='{shape}' stroke-dasharray='{DASHES[role]}'/>")
        label = f"{role} {newest[role]:.0f}"
        lines.append(f"<text x='486' y='{label_y + 4:.1f}'>{label}</text>")
        words.append(f"{label} in cycle {max(live.yields[role])}")

    label = f"Admitted of 100 generated: {'; '.join(words)}"
    picture = (
        f"<svg viewBox='0 0 560 156' role='img' aria-label='{label}'>"
        f"{_axes(top, last)}{''.join(lines)}</svg>"
    )
    note = "the result is in the report" if live.finished else "not a result: unfinished"
    title = f"Admitted of 100 generated, by cycle <small>({note})</small>"
    return f"<section><h2>{title}</h2>{picture}</section>"


def _y(share: float, top: float) -> float:
    return BOTTOM - HEIGHT * share / top


def _axes(top: float, last: int) -> str:
    axes = (
        f"<line x1='{LEFT}' y1='{BOTTOM}' x2='{RIGHT}' y2='{BOTTOM}'/>"
        "<text x='34' y='136' text-anchor='end'>0</text>"
        f"<text x='34' y='16' text-anchor='end'>{top:.0f}</text>"
        f"<text x='{LEFT}' y='150'>cycle 1</text>"
    )

    if last > 1:
        axes += f"<text x='{RIGHT}' y='150' text-anchor='end'>{last}</text>"
    return axes


def _errors(live: Live) -> str:
    failures = live.records.failures
    if not failures:
        return ""

    items = []
    for failure in reversed(failures[-ERRORS:]):
        reason = failure.reason or "its log tells no reason, or the next attempt wrote over it"
        # Its texts are of logs, where anything may stand.
        words = f"{failure.rule}, {_fate(failure)}: {reason}"
        items.append(f"<li>{escape(words)} <code>{escape(failure.log)}</code></li>")

    head = f"Failed attempts: {len(failures)}"
    if len(failures) > ERRORS:
        head += f"; the last {ERRORS}"
    return f"<section><h2>{head}</h2><ul class='errors'>{''.join(items)}</ul></section>"


def _fate(failure: Failure) -> str:
    if failure.mended:
        return "ended well later"
    return "tried again" if failure.again else "failed for good"


def _items(lines: list[str]) -> str:
    return "".join(f"<li>{escape(line)}</li>" for line in lines)
