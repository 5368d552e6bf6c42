"""The cycles of a run as they are now: state, stage, what was judged so far, whether one collapses.

Standard library only.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from archloop.errors import InputError
from archloop.layout import SUMMARY, Cell
from archloop.monitoring.cycle_files import judged_so_far, read_summary
from archloop.outcomes import NOT_VALID, OUTCOMES
from archloop.quantities import percent
from archloop.settings.chains import cycles_of, effective
from archloop.settings.planned_files import Job
from archloop.settings.sections import Settings

DONE = "done"
RUNNING = "running"
QUEUED = "queued"
FAILED = "failed"
CUT = "cut"
WAITING = "waiting"
BEFORE = 3  # finished cycles that the one under way is compared with
ENOUGH = 20  # judged candidates, below which nothing raises an alarm
# Shares that raise one: so few valid, or so many that fail at one check.
FEW_VALID, ONE_REASON = 0.1, 0.4


class StatedJob(NamedTuple):
    """A job of a cycle: its stage and its state."""

    stage: str
    state: str


@dataclass(frozen=True)
class LiveCycle:
    """One box of a chain's strip: its state, the stage that it is at with what is done of it.

    counts: outcome -> candidates so far, empty where none is judged. one_graph: all its valid
    programs compute one graph.
    """

    number: int
    state: str
    stage: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    judged: int = 0
    planned: int = 0
    one_graph: bool = False

    @property
    def valid(self) -> int:
        failed = sum(self.counts.get(name, 0) for name in NOT_VALID)
        return self.judged - failed


def cycles_by_chain(
    results: Path,
    names: list[str],
    settings: Settings,
    planned: list[Job],
    states: dict[Job, str],
) -> dict[str, list[LiveCycle]]:
    """Return chain -> its cycles, for the chains of these names.

    planned: all jobs. states: of each.
    """
    of_cycle: dict[Cell, list[StatedJob]] = {}
    for job in planned:
        if job.stage not in ("export", "report"):
            cell = Cell(job.chain, job.cycle)
            stated = StatedJob(job.stage, states[job])
            of_cycle.setdefault(cell, []).append(stated)

    chains: dict[str, list[LiveCycle]] = {}
    for name in names:
        chains[name] = []
        for number in cycles_of(settings, name):
            candidates = 0
            if planned and number:
                candidates = effective(settings, "cycle", name, number)["candidates"]
            cell = Cell(name, number)
            jobs = of_cycle.get(cell, [])
            cycle = _cycle(cell.folder(results), number, candidates, jobs)
            chains[name].append(cycle)

    return chains


def _cycle(folder: Path, number: int, candidates: int, jobs: list[StatedJob]) -> LiveCycle:
    """Return what there is to say of a cycle.

    candidates: how many it is to have. jobs: its own.
    """
    states = Counter(job.state for job in jobs)
    funnel = _funnel(folder / SUMMARY) if number else None
    if funnel is not None and states.keys() <= {DONE}:
        judged = sum(funnel.values())
        return LiveCycle(number, DONE, counts=funnel, judged=judged, planned=judged)
    if states.keys() == {DONE}:
        return LiveCycle(number, DONE)

    state = WAITING
    # The last that any job is in: a failure is said before all that goes well.
    for worse in (CUT, QUEUED, RUNNING, FAILED):
        if states[worse]:
            state = worse

    counts: dict[str, int] = {}
    one_graph = False
    if number and (states[DONE] or not jobs):
        counts, one_graph = _judged(folder)
    return LiveCycle(
        number=number,
        state=state,
        stage=_stage(jobs, state, begun=states[DONE] > 0),
        counts=counts,
        judged=sum(counts.values()),
        planned=candidates,
        one_graph=one_graph,
    )


def _stage(jobs: list[StatedJob], state: str, begun: bool) -> str:
    """Return the stage that a cycle is at, with how many of its jobs are done.

    A cycle that waits is at none before any of its jobs is done.
    """
    if state == WAITING and not begun:
        return ""

    of_stage: dict[str, list[str]] = {}
    for job in jobs:
        of_stage.setdefault(job.stage, []).append(job.state)
    for stage, states in of_stage.items():
        if state not in states:
            continue
        if len(states) == 1:
            return stage
        done = states.count(DONE)
        return f"{stage}, {done} of {len(states)}"

    return ""


def _funnel(path: Path) -> dict[str, int] | None:
    """Return the funnel of a finished cycle.

    None where its summary is not there or not whole.
    """
    try:
        funnel = read_summary(path)["funnel"]
        return {name: int(funnel[name]) for name in OUTCOMES}
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _judged(folder: Path) -> tuple[dict[str, int], bool]:
    """Return (outcomes so far of a cycle under way, whether its valid programs are one graph)."""
    outcomes: Counter[str] = Counter()
    graphs: Counter[str] = Counter()
    for candidate in judged_so_far(folder):
        outcomes[candidate["outcome"]] += 1
        if candidate["outcome"] == "trained":
            graphs[str(candidate["graph"])] += 1

    # That a few programs compute one graph says nothing.
    one_graph = len(graphs) == 1 and graphs.total() >= ENOUGH // 2
    return dict(outcomes), one_graph


def collapse(judged: list[LiveCycle]) -> list[str]:
    """Return what is wrong with the last of some cycles, in words."""
    *before, last = judged
    return list(_faults(last, before[-BEFORE:]))


def _faults(last: LiveCycle, before: list[LiveCycle]) -> Iterator[str]:
    share = last.valid / last.judged
    usual = _mean_share(before, lambda cycle: cycle.valid)
    if share < FEW_VALID:
        yield f"{last.valid} of {last.judged} programs are valid"
    elif usual is not None and share < usual / 2:
        yield f"{percent(share, 0)} valid, against {percent(usual, 0)} in the cycles before"

    check = max(NOT_VALID, key=lambda name: last.counts.get(name, 0))
    count = last.counts.get(check, 0)
    if count > ONE_REASON * last.judged:
        name = check.replace("_", " ")
        failing = percent(count / last.judged, 0)
        yield f"{failing} fail at one check, {name}"

    only_copies = 0 < last.valid == last.counts.get("near_copy")
    if last.one_graph or (only_copies and last.state == DONE):
        yield "all valid programs are copies"


def mean_of(before: list[LiveCycle], count: Callable[[LiveCycle], int]) -> str:
    """Return a share as the mean of the last finished cycles, in words; nothing where none is."""
    mean = _mean_share(before[-BEFORE:], count)
    return percent(mean, 0, unknown="")


def _mean_share(cycles: list[LiveCycle], count: Callable[[LiveCycle], int]) -> float | None:
    """Return the mean share of what was judged in some cycles; None of none."""
    if not cycles:
        return None
    shares = [count(cycle) / cycle.judged for cycle in cycles]
    return sum(shares) / len(shares)
