"""The cycles of a run as they are now: state, stage, what was judged so far, and whether one collapses.

Standard library only.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archloop.errors import InputError
from archloop.files import read_json
from archloop.monitoring.status import Job
from archloop.outcomes import NOT_VALID, OUTCOMES
from archloop.settings.chains import cycles_of, effective

DONE, RUNNING, QUEUED, FAILED, CUT, WAITING = (
    "done",
    "running",
    "queued",
    "failed",
    "cut",
    "waiting",
)
BEFORE = 3  # finished cycles that the one under way is compared with
ENOUGH, FEW_VALID, ONE_REASON = (
    20,
    0.1,
    0.4,
)  # judged candidates, and the shares that raise an alarm


@dataclass(frozen=True)
class Cycle:
    """One box of a chain's strip: its state, the stage that it is at with what is done of it, and its counts."""

    number: int
    state: str
    stage: str = ""
    counts: dict[str, int] | None = None
    judged: int = 0
    planned: int = 0
    one_graph: bool = False

    @property
    def valid(self) -> int:
        return self.judged - sum((self.counts or {}).get(name, 0) for name in NOT_VALID)


def cycles_by_chain(
    results: Path, names: list[str], settings: dict, planned: list[Job], states: dict[Job, str]
) -> dict[str, list[Cycle]]:
    """Return chain -> its cycles, for the chains of these names. planned: all jobs; states: of each."""
    of_cycle: dict[tuple[str, int], list[Job]] = {}
    for job in planned:
        if job.stage not in ("export", "report"):
            of_cycle.setdefault((job.chain, job.cycle), []).append(job)
    chains: dict[str, list[Cycle]] = {}
    for name in names:
        chains[name] = []
        for number in cycles_of(settings, name):
            candidates = (
                effective(settings, "cycle", name, number)["candidates"]
                if planned and number
                else 0
            )
            jobs = [(job, states[job]) for job in of_cycle.get((name, number), [])]
            chains[name].append(
                _cycle(results / name / f"cycle-{number}", number, candidates, jobs)
            )
    return chains


def _cycle(folder: Path, number: int, candidates: int, jobs: list[tuple[Job, str]]) -> Cycle:
    """Return what there is to say of a cycle. candidates: how many it is to have. jobs: its own, with their states."""
    found = Counter(state for _, state in jobs)
    counts = _counts(folder / "summary.json") if number else None
    if counts is not None and set(found) <= {DONE}:
        return Cycle(number, DONE, "", counts, sum(counts.values()), sum(counts.values()))
    if jobs and set(found) == {DONE}:
        return Cycle(number, DONE)
    state = next((each for each in (FAILED, RUNNING, QUEUED, CUT) if found[each]), WAITING)
    wanted = (state,) if state != WAITING else (WAITING,) if found[DONE] else ()
    at = next((job.stage for job, state in jobs if state in wanted), "")
    same = [state for job, state in jobs if job.stage == at]
    stage = f"{at}, {same.count(DONE)} of {len(same)}" if len(same) > 1 else at
    judged, one_graph = _judged(folder) if number and (found[DONE] or not jobs) else (None, False)
    return Cycle(number, state, stage, judged, sum((judged or {}).values()), candidates, one_graph)


def _counts(path: Path) -> dict[str, int] | None:
    """Return the funnel of a finished cycle, None where its summary is not there or not whole."""
    try:
        funnel = read_json(path, "funnel")["funnel"]
        return {name: int(funnel[name]) for name in OUTCOMES}
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _judged(folder: Path) -> tuple[dict[str, int] | None, bool]:
    """Return (outcomes so far of a cycle under way, whether all its valid programs compute one graph)."""
    outcomes, graphs = Counter(), Counter()
    for path in sorted((folder / "evaluated").glob("[0-9]*.json")):
        if path.name.endswith(".run.json"):
            continue
        try:
            for record in read_json(path, "records")["records"]:
                outcomes[str(record["outcome"])] += 1
                if record["outcome"] == "trained":
                    graphs[str((record.get("graph") or {}).get("digest"))] += 1
        except (InputError, KeyError, TypeError, AttributeError):
            continue
    return dict(outcomes) or None, len(graphs) == 1 and sum(graphs.values()) >= ENOUGH // 2


def collapse(judged: list[Cycle]) -> list[str]:
    """Return what is wrong with the last of some cycles, in words."""
    last, before = judged[-1], judged[:-1][-BEFORE:]
    share = last.valid / last.judged
    usual = sum(each.valid / each.judged for each in before) / len(before) if before else None
    reason, count = max(
        ((name, last.counts.get(name, 0)) for name in NOT_VALID), key=lambda each: each[1]
    )
    found = []
    if share < FEW_VALID:
        found.append(f"{last.valid} of {last.judged} programs are valid")
    elif usual is not None and share < usual / 2:
        found.append(f"{percent(share)} valid, against {percent(usual)} in the cycles before")
    if count > ONE_REASON * last.judged:
        found.append(
            f"{percent(count / last.judged)} fail at one check, {reason.replace('_', ' ')}"
        )
    if last.one_graph or (
        last.state == DONE and last.valid and last.counts.get("near_copy") == last.valid
    ):
        found.append("all valid programs are copies")
    return found


def mean_of(before: list[Cycle], count: Callable[[Cycle], int]) -> str:
    """Return a share as the mean of the last finished cycles, in words; nothing where there are none."""
    shares = [count(each) / each.judged for each in before[-BEFORE:]]
    return percent(sum(shares) / len(shares)) if shares else ""


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
