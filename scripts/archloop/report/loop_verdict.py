"""The verdict on the loop, by rule: a headline and a sentence, from its contrasts with controls.

What is measured, against what, and over which cycles is fixed in the settings (section report)
before a run. Only the loop gets a verdict; a control that is ahead is said first.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from archloop.report.contrasts import LEAST_RUNS, Contrast, window
from archloop.report.groups import ROLES, Groups
from archloop.report.run_counts import (
    Counts,
    array_of,
    common_cycles,
    compare,
    counts_of,
    finished_cycles,
)
from archloop.report.wording import p_value, signed
from archloop.settings.sections import Report

Kind = Literal[
    "works",
    "training",
    "unsettled",
    "worse",
    "not_apart",
    "two_runs",
    "one_run",
    "no_control",
    "nothing",
]
Contrasts = dict[str, Contrast]  # by role


# What a reader can do next, by the kind of the verdict.
NEXT: dict[Kind, str] = {
    "works": "Next: see whether it holds on another data set, or over more cycles.",
    "training": "Next: train longer on the seed corpus before more cycles of the loop are paid"
    " for.",
    "unsettled": "Next: more runs (repeats) of the loop and of the fixed corpus would tell them"
    " apart.",
    "worse": "Next: look at what failed, and change how the loop learns; more runs of the same"
    " would cost for nothing.",
    "not_apart": "Next: more runs (repeats), if a smaller difference matters; else another way to"
    " learn.",
    "two_runs": "Next: a third run (repeats: 3) of the loop and of each control.",
    "one_run": "Next: three runs (repeats: 3) of the loop and of each control.",
    "no_control": "Next: add a chain that does not learn (finetuning.train_on: none), with as many"
    " runs.",
}
# What is counted, per 100 generated.
MEASURE_WORDS = {"new_good": "new and good enough", "admitted": "admitted", "valid": "valid"}


# Kinds of a loop that is shown to be ahead of a model that does not learn.
POSITIVE: tuple[Kind, ...] = ("works", "training", "unsettled")
# Before the end: where the loop is beside a model that does not learn, for the kinds that say so.
SIDES: dict[Kind, str] = {
    "works": "ahead of",
    "training": "ahead of",
    "unsettled": "ahead of",
    "worse": "behind",
    "not_apart": "not clearly ahead of",
}


@dataclass(frozen=True)
class Verdict:
    """The answer.

    beside: what random search did, the second sentence of the headline. as_of: the last cycle that
    all finished, where some have not finished all that are planned; else None. random_ahead:
    whether random search is shown to be ahead of the loop. windows: the cycles compared, by
    control.
    """

    kind: Kind
    headline: str
    beside: str
    sentence: str
    contrasts: Contrasts
    windows: dict[str, list[int]]
    as_of: int | None = None
    random_ahead: bool = False

    @property
    def next(self) -> str:
        """What to do with it; before the end that is to wait."""
        if self.as_of is not None:
            return "Next: let the run go on to its end."
        return NEXT.get(self.kind, "")

    @property
    def positive(self) -> bool:
        return self.as_of is None and self.kind in POSITIVE


def reach_verdict(
    counts: pl.DataFrame,
    loop: list[str],
    controls: Groups,
    planned: dict[str, int],
    settings: Report,
    seed: int,
) -> Verdict:
    """Return the verdict.

    counts: chain, cycle, `candidates`, and a column named as the measure, one row a finished cycle.
    loop: its runs. controls: role -> runs. planned: run -> its cycles.
    """
    cells = counts_of(counts, settings.measure, "candidates")
    compared = compare(cells, loop, controls, settings, seed)
    by_role = {}
    windows = {}
    for role, comparison in compared.items():
        by_role[role] = comparison.contrast
        windows[role] = comparison.cycles

    finished = finished_cycles(cells, sum(controls.values(), loop))
    begun = [run for run in loop if finished[run]]
    # What is compared reaches only as far as the slowest comparison.
    as_of = None
    if any(len(cycles) < planned[run] for run, cycles in finished.items()):
        last = [cycles[-1] for cycles in windows.values()]
        as_of = min(last, default=len(common_cycles(finished, begun)))

    kind, headline = _headline(by_role, bool(begun), "frozen" in controls)
    random = by_role.get("random")
    early = _with_state(headline, kind, as_of)
    planned_cycles = planned[loop[0]]
    values = _values_of_loop(by_role)
    if not values:
        values = _values_alone(cells, begun, finished, settings.window)

    return Verdict(
        kind=kind,
        headline=_led(early, kind, random, as_of, planned_cycles),
        beside=_beside(random, as_of is not None) if random else "",
        sentence=_sentence(by_role, values, settings.measure) if values else "",
        contrasts=by_role,
        windows=windows,
        as_of=as_of,
        random_ahead=_is_ahead(random),
    )


def _is_ahead(control: Contrast | None) -> bool:
    """Say whether a control is shown to be ahead of the loop."""
    return control is not None and control.told_apart and control.difference < 0


def _headline(by_role: Contrasts, begun: bool, awaited: bool) -> tuple[Kind, str]:
    """Return the kind and its headline. awaited: there is a chain that does not learn."""
    frozen = by_role.get("frozen")
    fixed = by_role.get("fixed")
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
        both = len(frozen.loop) == len(frozen.control)
        side = "One run" if both else "One run on one side"
        return "one_run", f"{side}: no answer about other runs."
    if frozen.runs < LEAST_RUNS:
        return "two_runs", "Two runs: too few for an answer about other runs."
    if not frozen.told_apart:
        return "not_apart", "No difference shown between the loop and a model that does not learn."
    if frozen.difference < 0:
        return "worse", "It does not work here: a model that does not learn makes more."
    if fixed is None or fixed.method != "runs":
        return "works", "It works here."
    if fixed.told_apart and fixed.difference > 0:
        return "works", "It works here."

    # A point estimate below half of what learning adds says that training alone does most of it.
    if fixed.told_apart or fixed.difference < frozen.difference / 2:
        return "training", "What helps is more training, not its own designs."
    return (
        "unsettled",
        "It works here; whether its own designs help, or more training would do, is open.",
    )


def _with_state(headline: str, kind: Kind, as_of: int | None) -> str:
    """Return the headline, before the end what there is to say instead of a verdict."""
    if as_of is None or kind not in SIDES:
        return headline
    return (
        f"No verdict before the end; so far the loop is {SIDES[kind]} a model that does not learn."
    )


def _led(
    headline: str, kind: Kind, random: Contrast | None, as_of: int | None, planned: int
) -> str:
    """Return the headline after what has to be said before it.

    That is whether random search is ahead, and that it is early.
    """
    if _is_ahead(random):
        headline = f"Random search is ahead. {headline}"
    elif random and _below(random):
        runs = "this run" if random.runs == 1 else "these runs"
        headline = f"In {runs} random search is ahead. {headline}"

    if as_of is None or kind == "nothing":
        return headline
    if kind == "no_control" and as_of == planned:
        return headline

    # The loop may have finished long before its controls.
    early = "Controls are still to come"
    if as_of < planned:
        early = f"As of cycle {as_of} of {planned}"
    first = headline[0].lower()
    return f"{early}: {first}{headline[1:]}"


def _beside(random: Contrast, early: bool) -> str:
    """Return what random search did, and whether that is shown.

    Nothing where too few runs are compared.
    """
    if random.method != "runs" or random.p is None:
        return ""

    amount = _amount((abs(random.difference),))
    more = random.difference < 0
    side = "more" if more else "fewer"
    result = f"makes {amount} {side} per 100"
    if amount == "0":
        result = "makes as many"
    if early:
        return f"So far random search {result}."

    behind, ahead = random.control, random.loop
    if more:
        behind, ahead = ahead, behind
    # Said in plain words beside p, which few runs cannot make small.
    every_pair = min(ahead) > max(behind)
    pairs = "in every pair of runs" if every_pair else "on average, not in every pair of runs"
    holds = "holds" if random.told_apart else "does not hold"
    p = p_value(random.p)
    return f"Random search {result}, {pairs}; that {holds} after Holm's adjustment (p {p})."


def _below(contrast: Contrast) -> bool:
    """Say whether the loop lies below a control in the few runs that there are.

    That is: in all cycles drawn, or run by run.
    """
    if contrast.high is not None and contrast.method == "cycles":
        return contrast.high < 0
    if contrast.method != "points" or contrast.runs == 1:
        return False
    return max(contrast.loop) < min(contrast.control)


def _values_of_loop(by_role: Contrasts) -> tuple[float, ...]:
    """Return the value of each run of the loop, over the cycles of its first comparison."""
    return next((contrast.loop for contrast in by_role.values()), ())


def _values_alone(
    cells: Counts, runs: list[str], finished: dict[str, set[int]], share: float
) -> tuple[float, ...]:
    """Return the value of each run of the loop where nothing stands beside it."""
    cycles = window(common_cycles(finished, runs), share)
    if not cycles:
        return ()

    values = []
    for run in runs:
        count, of = array_of(cells, [run], cycles).sum(axis=1)[0].tolist()
        if of:
            values.append(100 * count / of)

    return tuple(values)


def _sentence(by_role: Contrasts, loop: tuple[float, ...], measure: str) -> str:
    """Return what was made of 100, by whom, and how sure that is."""
    what = MEASURE_WORDS[measure]
    counted = f"Of 100 programs that the loop writes, {_amount(loop)} are {what}"
    others = []
    for role, contrast in by_role.items():
        name = ROLES[role][1]
        others.append(f"{name} makes {_amount(contrast.control)}")
    if others:
        counted += f"; {', '.join(others)}"
    sentences = [f"{counted}."]
    frozen = by_role.get("frozen")
    fixed = by_role.get("fixed")
    if frozen is None:
        return sentences[0]

    sentences += _how_sure(frozen)
    helps = frozen.told_apart and frozen.difference > 0
    if helps and fixed and fixed.test and not fixed.told_apart:
        detectable = f"{fixed.test.detectable:.0f}"
        sentences.append(
            f"Against the seed corpus alone, a true difference of {detectable} would"
            " be found 4 times in 5."
        )

    return " ".join(sentences)


def _how_sure(frozen: Contrast) -> list[str]:
    """Return how sure what learning adds is, in sentences."""
    if frozen.method == "cycles":
        difference, ends = _signed(frozen.difference), _ends(frozen)
        return [f"Within this one run the difference is {difference} ({ends} over its cycles)."]
    if frozen.method == "points" and frozen.runs > 1:
        if min(frozen.loop) > max(frozen.control):
            return ["Every run of the loop lies above those that do not learn."]
        if max(frozen.loop) < min(frozen.control):
            return ["Every run of the loop lies below those that do not learn."]
        return []
    if frozen.test and not frozen.told_apart:
        difference, ends = _signed(frozen.difference), _ends(frozen)
        detectable = f"{frozen.test.detectable:.0f}"
        return [
            f"What learning adds: {difference}, 95 % interval {ends}.",
            f"With {frozen.runs} runs each, a true difference of {detectable} would"
            " be found 4 times in 5.",
        ]
    return []


def _amount(values: tuple[float, ...]) -> str:
    mean = float(np.mean(values))
    whole = mean >= 9.5 or mean == 0
    return f"{mean:.0f}" if whole else f"{mean:.1f}"


def _signed(value: float | None) -> str:
    return signed(value, digits=0)


def _ends(contrast: Contrast) -> str:
    return f"{_signed(contrast.low)} to {_signed(contrast.high)}"
