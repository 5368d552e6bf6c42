"""The live page: how a run goes, on one screen that reads itself again, without a server.

It counts; it judges nothing. Standard library only.
"""

import math
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import NamedTuple

from archloop.errors import InputError, kind_and_line
from archloop.files import write_text
from archloop.layout import PAGE, SETTINGS_FILE
from archloop.logs import get_logger
from archloop.monitoring.live import Live, gather
from archloop.monitoring.live_cycles import (
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    LiveCycle,
    mean_of,
)
from archloop.monitoring.live_jobs import FailedAttempt
from archloop.monitoring.live_overview import moment, overview
from archloop.outcomes import NOT_VALID
from archloop.quantities import percent
from archloop.settings.planned_files import Job

# What the title says of a run, by what this machine knows of it.
AT_WORK = {True: "at work", False: "not at work now", None: "unfinished"}
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
# The figure of yields, in pixels: where its axes begin and end, and how far labels lie apart.
LEFT, RIGHT = 40, 440
BOTTOM, HEIGHT = 132, 120
LABEL_HEIGHT = 15
# Right of the axes: a piece of each line, and its name.
KEY_X, KEY_WIDTH, LABEL_X = 456, 24, 486
DASHES = {
    "main": "",
    "frozen": "5 3",
    "random": "1.5 3",
}
# The page may lie open for hours while nothing writes it; only the reader's clock knows.
SCRIPT = """
const written = Number(document.body.dataset.written) * 1000;
const minutes = Math.round((Date.now() - written) / 60000);
const age = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
if (minutes > 0) document.getElementById("age").textContent = `, ${age} ago`;
document.getElementById("old").hidden = minutes < 120 || document.body.dataset.over === "yes";
"""


class Newest(NamedTuple):
    """The newest point of a line: admitted of 100 in the last cycle that it has."""

    cycle: int
    share: float


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
        reason = str(error) if isinstance(error, InputError) else kind_and_line(error)
        get_logger("live").warning("%s was not written: %s", NAME, reason)


def write_page(
    results: Path, logs: Path, path: Path, ended: bool = False, planned: list[Job] | None = None
) -> None:
    """Write the page of a results folder.

    logs: the folder with the logs and benchmarks of its jobs. ended: the run is over, whoever holds
    its lock. planned: all jobs, where somebody has planned already.
    """
    live = gather(results, logs, ended=ended, planned=planned)
    write_text(path, render_page(live, path))


def render_page(live: Live, path: Path) -> str:
    """Return the page; all texts in it are escaped.

    path: where it will lie, which its links are seen from.
    """
    alarms = live.alarms[:ALARMS]
    more = len(live.alarms) - ALARMS
    if more > 0:
        alarms.append(f"And {more} more.")

    # It is there without a script too, hidden: only the reader's clock can tell that it holds.
    old = (
        "<p class='alarms' id='old' hidden><strong>Nothing has written this page for two hours."
        "</strong></p>"
    )
    loud = ""
    if alarms:
        loud = f"<ul class='alarms' role='alert'>{_items(alarms)}</ul>"
    cycles = "".join([_under_way(live), _yields(live), _errors(live)])
    main = f"<div>{_strips(live)}</div><div>{cycles}</div>"
    is_over = live.finished or live.records.at_work is False
    over = "yes" if is_over else "no"
    run = live.results.resolve().parent.name
    title = f"{escape(run)}: {_headline(live)}"
    # Inside the page, which is copied and mailed as one file.
    style = STYLE.read_text(encoding="utf-8")

    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='refresh' content='{REFRESH_S}'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<link rel='icon' href='data:,'>"
        f"<title>{title}</title>\n<style>{style}</style></head>\n"
        f"<body data-written='{live.now:.0f}' data-over='{over}'>\n"
        f"<header><h1>{title}</h1>"
        f"<span class='muted'>as of {moment(live.now)}<span id='age'></span>;"
        " written after each cycle, or by"
        " <code>python scripts/status.py --html results/live.html</code></span></header>\n"
        f"{loud}{old}\n"
        f"<dl>{overview(live, path)}</dl>\n"
        f"<main>{main}</main>\n"
        f"<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _headline(live: Live) -> str:
    if live.finished:
        return "finished"
    if not live.jobs:
        return "nothing is known of what it is to do"
    at_work = AT_WORK[live.records.at_work]
    total = live.jobs.total()
    return f"{at_work}, {live.jobs[DONE]} of {total} jobs done"


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
    table = _table(head, rows)
    return f"<section><h2>Chains</h2>{table}{note}</section>"


def _table(head: str, rows: list[str]) -> str:
    body = "".join(rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _progress(cycles: list[LiveCycle]) -> str:
    """Return how far a chain is, and what it is at."""
    left = [cycle for cycle in cycles if cycle.state != DONE]
    if not left:
        return "done"

    begun = [cycle for cycle in left if cycle.state != WAITING or cycle.stage]
    done = len(cycles) - len(left)
    so_far = f"{done} of {len(cycles)} done"
    if not begun:
        return so_far if done else "waiting"

    # What runs is said before what waits, though it be a later cycle: a control's cycles go side by
    # side.
    now = min(begun, key=lambda cycle: (cycle.state == WAITING, cycle.number))
    state = _state(now, brief=True)
    return f"{so_far}; cycle {now.number}: {state}"


def _box(cycle: LiveCycle) -> str:
    words = f"cycle {cycle.number}: {_state(cycle)}"
    mark = "!" if cycle.state == FAILED else ""
    return f"<i class='{cycle.state}' title='{escape(words)}'>{mark}</i>"


def _state(cycle: LiveCycle, brief: bool = False) -> str:
    stage, comma, rest = cycle.stage.partition(",")
    if not stage:
        return "" if brief and cycle.state == RUNNING else cycle.state

    name = WORDS.get(stage, stage.replace("_", " "))
    words = f"{name}{comma}{rest}"
    if brief and cycle.state == RUNNING:
        return words
    state = "next" if cycle.state == WAITING else cycle.state
    return f"{state}, {words}"


def _under_way(live: Live) -> str:
    """Return the funnels of the cycles that are being judged, beside those of the last finished."""
    rows, has_past = [], False
    for name, cycles in live.chains.items():
        for index, cycle in enumerate(cycles):
            if cycle.state != DONE and cycle.counts:
                # A cycle is compared with those of its own chain alone: others learn differently.
                done = [past for past in cycles[:index] if past.state == DONE]
                before = [past for past in done if past.judged]
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
    table = _table(head, rows[:UNDER_WAY])
    return f"<section><h2>{title}</h2>{table}{more}</section>"


def _head(names: list[str], hidden: str = "") -> str:
    """Return the head of a table. hidden: the column of boxes, which no screen reader reads."""
    cells = []
    for name in names:
        attribute = " aria-hidden='true'" if name == hidden else ""
        cells.append(f"<th scope='col'{attribute}>{name}</th>")

    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _funnel(name: str, cycle: LiveCycle, before: list[LiveCycle]) -> str:
    """Return the row of a cycle under way.

    In brackets is what the last three finished ones came to in the end.
    """
    counts = [(cycle.counts.get(check, 0), check) for check in NOT_VALID]
    failed = []
    for count, check in sorted(counts, reverse=True)[:FAILS]:
        if count:
            usual = _in_brackets(before, _counter_of(check))
            name_of_check = check.replace("_", " ")
            share = percent(count / cycle.judged, digits=0)
            failed.append(f"{name_of_check} {share}{usual}")

    judged = str(cycle.judged)
    if cycle.planned:
        judged += f" of {cycle.planned}"
    valid = percent(cycle.valid / cycle.judged, digits=0)
    cells = [
        str(cycle.number),
        judged,
        valid + _in_brackets(before, lambda past: past.valid),
        ", ".join(failed) or "none",
    ]

    row = "</td><td>".join(map(escape, cells))
    return f"<tr><th scope='row'>{escape(name)}</th><td>{row}</td></tr>"


def _counter_of(check: str) -> Callable[[LiveCycle], int]:
    return lambda cycle: cycle.counts[check]


def _in_brackets(before: list[LiveCycle], count: Callable[[LiveCycle], int]) -> str:
    words = mean_of(before, count)
    return f" ({words})" if words else ""


def _yields(live: Live) -> str:
    """Return the figure of what was admitted of 100, by cycle, for the loop and its controls."""
    if not live.yields:
        return ""

    newest = {}
    for role, shares in live.yields.items():
        last_of_role = max(shares)
        newest[role] = Newest(last_of_role, shares[last_of_role])
    last = max(point.cycle for point in newest.values())
    top = max(1.0, *(max(shares.values()) for shares in live.yields.values()))

    shapes, words, label_y = [], [], -math.inf
    # From the top of the figure down, so that no label lies on the one before.
    for role in sorted(newest, key=lambda role: _y(newest[role].share, top)):
        label_y = max(_y(newest[role].share, top), label_y + LABEL_HEIGHT)
        label = f"{role} {newest[role].share:.0f}"
        line = _line(live.yields[role], last, top)
        key = f"M{KEY_X} {label_y:.1f}h{KEY_WIDTH}"
        shapes.append(f"<path d='{line}{key}' stroke-dasharray='{DASHES[role]}'/>")
        base_line = label_y + 4
        shapes.append(f"<text x='{LABEL_X}' y='{base_line:.1f}'>{label}</text>")
        words.append(f"{label} in cycle {newest[role].cycle}")

    label = f"Admitted of 100 generated: {'; '.join(words)}"
    figure = (
        f"<svg viewBox='0 0 560 156' role='img' aria-label='{label}'>"
        f"{_axes(top, last)}{''.join(shapes)}</svg>"
    )
    note = "the result is in the report" if live.finished else "not a result: unfinished"
    title = f"Admitted of 100 generated, by cycle <small>({note})</small>"
    return f"<section><h2>{title}</h2>{figure}</section>"


def _line(shares: dict[int, float], last: int, top: float) -> str:
    """Return the path of one role's shares. last: the last cycle of the axis. top: its highest."""
    points = []
    for cycle, share in shares.items():
        # A run of one cycle has no width to divide.
        x = LEFT + (RIGHT - LEFT) * (cycle - 1) / max(1, last - 1)
        points.append(f"{x:.1f} {_y(share, top):.1f}")

    path = "L".join(points)
    # A single point would not be seen without a stroke to its right.
    return f"M{path}h3"


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
        words = escape(f"{failure.rule}, {_fate(failure)}: {reason}")
        log = escape(failure.log)
        items.append(f"<li>{words} <code>{log}</code></li>")

    head = f"Failed attempts: {len(failures)}"
    if len(failures) > ERRORS:
        head += f"; the last {ERRORS}"
    listed = "".join(items)
    return f"<section><h2>{head}</h2><ul class='errors'>{listed}</ul></section>"


def _fate(failure: FailedAttempt) -> str:
    if failure.mended:
        return "ended well later"
    return "tried again" if failure.again else "failed for good"


def _items(lines: list[str]) -> str:
    items = [f"<li>{escape(line)}</li>" for line in lines]
    return "".join(items)
