"""The verdict on the loop, by rule: one headline and one sentence, from its contrasts with its controls.

What is measured, against what, and over which cycles is fixed in the settings (section report) before a run. Only the
loop gets a verdict; a control that is ahead is said first.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from archloop.report.contrasts import LEAST_RUNS, Contrast, contrasts, window
from archloop.report.groups import ROLES

# What a reader can do next, by the kind of the verdict.
NEXT = {
    "works": "Next: see whether it holds on another data set, or over more cycles.",
    "training": "Next: train longer on the seed corpus before more cycles of the loop are paid for.",
    "unsettled": "Next: more runs (repeats) of the loop and of the fixed corpus would tell them apart.",
    "worse": "Next: look at what failed, and change how the loop learns; more runs of the same would cost for nothing.",
    "not_apart": "Next: more runs (repeats), if a smaller difference matters; else another way to learn.",
    "two_runs": "Next: a third run (repeats: 3) of the loop and of each control.",
    "one_run": "Next: three runs (repeats: 3) of the loop and of each control.",
    "no_control": "Next: add a chain that does not learn (finetuning.train_on: none), with as many runs.",
}
# What is counted, per 100 generated.
MEASURES = {"new_good": "new and good enough", "admitted": "admitted", "valid": "valid"}


@dataclass(frozen=True)
class Verdict:
    """kind: `works`, `training`, `unsettled`, `worse`, `not_apart`, `two_runs`, `one_run`, `no_control` or `nothing`.

    beside: what random search did, the second sentence of the headline. as_of: the last cycle that all finished, where
    some have not finished all that are planned; else None. random_ahead: whether random search is shown to be ahead of
    the loop. windows: the cycles compared, by control.
    """

    kind: str
    headline: str
    beside: str
    sentence: str
    contrasts: dict[str, Contrast]
    windows: dict[str, list[int]]
    as_of: int | None = None
    random_ahead: bool = False

    @property
    def next(self) -> str:
        """What to do with it; before the end that is to wait."""
        return (
            NEXT.get(self.kind, "") if self.as_of is None else "Next: let the run go on to its end."
        )

    @property
    def positive(self) -> bool:
        return self.as_of is None and self.kind in ("works", "training", "unsettled")


def judge(
    counts: pl.DataFrame,
    loop: list[str],
    controls: dict[str, list[str]],
    planned: dict[str, int],
    settings: dict,
    seed: int,
) -> Verdict:
    """Return the verdict.

    counts: chain, cycle, `candidates`, and a column named as the measure, one row a finished cycle. loop: its runs.
    controls: role -> runs. planned: run -> its cycles. settings: section report.
    """
    rows = counts.select("chain", "cycle", settings["measure"], "candidates").iter_rows()
    cells = {(chain, cycle): (count, of) for chain, cycle, count, of in rows}
    compared = compare(cells, loop, controls, settings, seed)
    found = {role: each for role, (each, _) in compared.items()}
    finished = _finished(cells, [*loop, *(name for names in controls.values() for name in names)])
    begun = [name for name in loop if finished[name]]
    as_of = None
    if any(len(cycles) < planned[name] for name, cycles in finished.items()):
        as_of = min(
            [cycles[-1] for _, cycles in compared.values()] or [len(_common(finished, begun))]
        )
    kind, headline = _headline(found, bool(begun), "frozen" in controls)
    own = next((each.loop for each in found.values()), None) or _alone(
        cells, begun, finished, settings["window"]
    )
    ahead = "random" in found and found["random"].told_apart and found["random"].difference < 0
    return Verdict(
        kind=kind,
        headline=_led(headline, kind, found, ahead, as_of, planned[loop[0]]),
        beside=_beside(found["random"], as_of is not None) if "random" in found else "",
        sentence=_sentence(found, own, settings["measure"]) if own else "",
        contrasts=found,
        windows={role: cycles for role, (_, cycles) in compared.items()},
        as_of=as_of,
        random_ahead=ahead,
    )


def compare(
    cells: dict[tuple[str, int], tuple[float, int]],
    loop: list[str],
    others: dict[str, list[str]],
    settings: dict,
    seed: int,
    shares: bool = True,
) -> dict[str, tuple[Contrast, list[int]]]:
    """Return name -> (the loop minus those runs, the cycles compared); runs that have not begun are left out.

    cells: (run, cycle) -> what was counted, of how many. others: name -> runs.
    """
    sides, windows = ({}, {}), {}
    for name, runs in others.items():
        finished = _finished(cells, [*loop, *runs])
        members = [[run for run in side if finished[run]] for side in (loop, runs)]
        if not all(members):
            continue
        cycles = window(_common(finished, members[0] + members[1]), settings["window"])
        if cycles:
            windows[name] = cycles
            for side, names in zip(sides, members):
                side[name] = np.array(
                    [[cells[run, cycle] for cycle in cycles] for run in names], float
                )
    found = contrasts(*sides, settings["resamples"], seed, shares)
    return {name: (each, windows[name]) for name, each in found.items()}


def _finished(cells: dict[tuple[str, int], tuple], names: list[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {name: set() for name in names}
    for name, cycle in cells:
        if name in found:
            found[name].add(cycle)
    return found


def _common(finished: dict[str, set[int]], names: list[str]) -> list[int]:
    return sorted(set.intersection(*(finished[name] for name in names))) if names else []


def _headline(found: dict[str, Contrast], begun: bool, awaited: bool) -> tuple[str, str]:
    frozen, fixed = found.get("frozen"), found.get("fixed")
    if not begun:
        return "nothing", "Nothing to judge yet: no cycle of the loop has a verdict."
    if frozen is None and awaited:
        return (
            "no_control",
            "Cannot be answered yet: the chain that does not learn has no finished cycle.",
        )
    if frozen is None:
        return (
            "no_control",
            "Cannot be answered: no chain here shows what happens without learning.",
        )
    if frozen.runs == 1:
        side = (
            "One run" if max(len(frozen.loop), len(frozen.control)) == 1 else "One run on one side"
        )
        return "one_run", f"{side}: no answer about other runs."
    if frozen.runs < LEAST_RUNS:
        return "two_runs", "Two runs: too few for an answer about other runs."
    if not frozen.told_apart:
        return "not_apart", "No difference shown between the loop and a model that does not learn."
    if frozen.difference < 0:
        return "worse", "It does not work here: a model that does not learn makes more."
    if fixed is None or fixed.method != "runs" or (fixed.told_apart and fixed.difference > 0):
        return "works", "It works here."
    if fixed.told_apart or fixed.difference < frozen.difference / 2:
        return "training", "What helps is more training, not its own designs."
    return (
        "unsettled",
        "It works here; whether its own designs help, or more training would do, is open.",
    )


def _led(
    headline: str, kind: str, found: dict, ahead: bool, as_of: int | None, planned: int
) -> str:
    """Return the headline after what has to be said before it: that it is early, that random search is ahead."""
    if as_of is not None and kind in ("works", "training", "unsettled", "worse", "not_apart"):
        side = (
            "not clearly ahead of"
            if kind == "not_apart"
            else "behind"
            if kind == "worse"
            else "ahead of"
        )
        headline = (
            f"No verdict before the end; so far the loop is {side} a model that does not learn."
        )
    if ahead:
        headline = f"Random search is ahead. {headline}"
    elif "random" in found and _below(found["random"]):
        headline = f"In {'this run' if found['random'].runs == 1 else 'these runs'} random search is ahead. {headline}"
    if as_of is None or kind == "nothing" or (kind == "no_control" and as_of == planned):
        return headline
    # The loop may have finished long before its controls.
    early = f"As of cycle {as_of} of {planned}" if as_of < planned else "Controls are still to come"
    return f"{early}: {headline[0].lower()}{headline[1:]}"


def _beside(random: Contrast, early: bool) -> str:
    """Return what random search did, and whether that is shown; nothing where too few runs are compared."""
    if random.method != "runs" or random.p is None:
        return ""
    amount, more = _amount((abs(random.difference),)), random.difference < 0
    said = f"random search makes {amount} {'more' if more else 'fewer'} per 100"
    if amount == "0":
        said = "random search makes as many"
    if early:
        return f"So far {said}."
    ahead, behind = (random.control, random.loop) if more else (random.loop, random.control)
    pairs = (
        "in every pair of runs"
        if min(ahead) > max(behind)
        else "on average, not in every pair of runs"
    )
    holds = "holds" if random.told_apart else "does not hold"
    p = "< 0.001" if random.p < 0.001 else f"{random.p:.3f}"
    return f"R{said[1:]}, {pairs}; that {holds} after Holm's adjustment (p {p})."


def _below(contrast: Contrast) -> bool:
    """Say whether the loop lies below a control in the few runs that there are: in all cycles drawn, or run by run."""
    if contrast.method == "cycles":
        return contrast.high < 0
    return (
        contrast.method == "points"
        and contrast.runs > 1
        and max(contrast.loop) < min(contrast.control)
    )


def _alone(
    cells: dict, runs: list[str], finished: dict[str, set[int]], share: float
) -> tuple[float, ...]:
    """Return the value of each run of the loop where nothing stands beside it."""
    cycles = window(_common(finished, runs), share)
    sums = [np.sum([cells[run, cycle] for cycle in cycles], axis=0) for run in runs if cycles]
    return tuple(100 * float(count) / float(of) for count, of in sums if of)


def _sentence(found: dict[str, Contrast], loop: tuple[float, ...], measure: str) -> str:
    """Return what was made of 100, by whom, and how sure that is."""
    said = f"Of 100 programs that the loop writes, {_amount(loop)} are {MEASURES[measure]}"
    others = [f"{ROLES[role][1]} makes {_amount(each.control)}" for role, each in found.items()]
    parts = [f"{'; '.join(filter(None, [said, ', '.join(others)]))}."]
    frozen = found.get("frozen")
    if frozen and frozen.method == "cycles":
        ends = f"{frozen.low:+.0f} to {frozen.high:+.0f}".replace("-", "−")
        parts.append(
            f"Within this one run the difference is {_signed(frozen)} ({ends} over its cycles)."
        )
    elif frozen and frozen.method == "points" and frozen.runs > 1:
        apart = min(frozen.loop) > max(frozen.control), max(frozen.loop) < min(frozen.control)
        place = "above" if apart[0] else "below" if apart[1] else "among"
        parts.append(
            f"Every run of the loop lies {place} those that do not learn." if any(apart) else ""
        )
    elif frozen and frozen.p is not None and not frozen.told_apart:
        ends = f"{frozen.low:+.0f} to {frozen.high:+.0f}".replace("-", "−")
        parts.append(f"What learning adds: {_signed(frozen)}, 95 % interval {ends}.")
        parts.append(
            f"With {frozen.runs} runs each, a true difference of {frozen.detectable:.0f} would be found 4 times in 5."
        )
    fixed = found.get("fixed")
    if (
        frozen
        and frozen.told_apart
        and frozen.difference > 0
        and fixed
        and fixed.p
        and not fixed.told_apart
    ):
        parts.append(
            f"Against the seed corpus alone, a true difference of {fixed.detectable:.0f} would be found 4 times in 5."
        )
    return " ".join(filter(None, parts))


def _amount(values: tuple[float, ...]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.0f}" if mean >= 9.5 or mean == 0 else f"{mean:.1f}"


def _signed(contrast: Contrast) -> str:
    return f"{contrast.difference:+.0f}".replace("-", "−")
