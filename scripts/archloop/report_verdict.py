"""The verdict on the loop, by rule: one headline and one sentence, from its contrasts with its controls.

What is measured, against what, and over which cycles is fixed in the settings (section report) before a run. Only the
loop gets a verdict; a control that is ahead is said first.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from archloop.report_contrasts import LEAST_RUNS, Contrast, contrasts, window
from archloop.report_groups import ROLES

# What is counted, per 100 generated.
MEASURES = {"new_good": "new and good enough", "admitted": "admitted", "valid": "valid"}


@dataclass(frozen=True)
class Verdict:
    """kind: `works`, `training`, `unsettled`, `worse`, `not_apart`, `two_runs`, `one_run`, `no_control` or `nothing`.

    as_of: the last cycle that all finished, where some have not finished all that are planned; else None. random_ahead:
    whether random search was told apart from the loop, and ahead. windows: the cycles compared, by control.
    """

    kind: str
    headline: str
    sentence: str
    contrasts: dict[str, Contrast]
    windows: dict[str, list[int]]
    as_of: int | None = None
    random_ahead: bool = False

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
    expected = [*loop, *(name for names in controls.values() for name in names)]
    finished = {name: rows for name in expected if (rows := _cells(counts, name, settings["measure"]))}
    begun = [name for name in loop if name in finished]
    against = {role: [name for name in names if name in finished] for role, names in controls.items()}
    against = {role: names for role, names in against.items() if names} if begun else {}
    common = {role: _common(finished, [*begun, *names]) for role, names in against.items()}
    windows = {role: window(cycles, settings["window"]) for role, cycles in common.items() if cycles}
    sides = [
        {role: _stack(finished, begun if own else against[role], cycles) for role, cycles in windows.items()}
        for own in (True, False)
    ]
    found = contrasts(*sides, settings["resamples"], seed)
    ends = [cycles[-1] for cycles in windows.values()] or [len(_common(finished, begun))]
    as_of = None if all(len(finished.get(name, ())) >= planned[name] for name in expected) else min(ends)
    kind, headline = _headline(found, bool(begun))
    ahead = "random" in found and found["random"].told_apart and found["random"].difference < 0
    return Verdict(
        kind=kind,
        headline=_led(headline, kind, found, ahead, as_of, planned[loop[0]]),
        sentence=_sentence(found, settings["measure"]) if found else "",
        contrasts=found,
        windows={role: windows[role] for role in found},
        as_of=as_of,
        random_ahead=ahead,
    )


def _cells(counts: pl.DataFrame, chain: str, measure: str) -> dict[int, tuple[int, int]]:
    rows = counts.filter(chain=chain).select("cycle", measure, "candidates").iter_rows()
    return {cycle: (count, of) for cycle, count, of in rows}


def _common(finished: dict[str, dict], names: list[str]) -> list[int]:
    return sorted(set.intersection(*(set(finished[name]) for name in names))) if names else []


def _stack(finished: dict[str, dict], names: list[str], cycles: list[int]) -> np.ndarray:
    return np.array([[finished[name][cycle] for cycle in cycles] for name in names], float)


def _headline(found: dict[str, Contrast], begun: bool) -> tuple[str, str]:
    frozen, fixed = found.get("frozen"), found.get("fixed")
    if not begun:
        return "nothing", "Nothing to judge yet: no cycle of the loop has a verdict."
    if frozen is None:
        return "no_control", "Cannot be answered: no chain here shows what happens without learning."
    if frozen.runs == 1:
        return "one_run", "One run: no answer about other runs."
    if frozen.runs < LEAST_RUNS:
        return "two_runs", "Two runs: too few for an answer about other runs."
    if not frozen.told_apart:
        return "not_apart", "Not told apart from a model that does not learn."
    if frozen.difference < 0:
        return "worse", "It does not work here: a model that does not learn makes more."
    if fixed is None or fixed.method != "runs" or (fixed.told_apart and fixed.difference > 0):
        return "works", "It works here."
    if fixed.told_apart or fixed.difference < frozen.difference / 2:
        return "training", "What helps is more training, not its own designs."
    return "unsettled", "It works here; whether its own designs help, or more training would do, is open."


def _led(headline: str, kind: str, found: dict, ahead: bool, as_of: int | None, planned: int) -> str:
    """Return the headline after what has to be said before it: that it is early, that random search is ahead."""
    if as_of is not None and kind in ("works", "training", "unsettled", "worse", "not_apart"):
        side = "not told apart from" if kind == "not_apart" else "behind" if kind == "worse" else "ahead of"
        headline = f"No verdict before the end; so far the loop is {side} a model that does not learn."
    if ahead:
        headline = f"Random search is ahead. {headline}"
    elif "random" in found and _below(found["random"]):
        headline = f"In {'this run' if found['random'].runs == 1 else 'these runs'} random search is ahead. {headline}"
    return headline if as_of is None or kind == "nothing" else f"As of cycle {as_of} of {planned}: {headline}"


def _below(contrast: Contrast) -> bool:
    """Say whether the loop lies below a control in the few runs that there are: in all cycles drawn, or run by run."""
    if contrast.method == "cycles":
        return contrast.high < 0
    return contrast.method == "points" and contrast.runs > 1 and max(contrast.loop) < min(contrast.control)


def _sentence(found: dict[str, Contrast], measure: str) -> str:
    """Return what was made of 100, by whom, and how sure that is."""
    loop = next(iter(found.values())).loop
    said = f"Of 100 programs that the loop writes, {_amount(loop)} are {MEASURES[measure]}"
    others = [f"{ROLES[role][1]} makes {_amount(each.control)}" for role, each in found.items()]
    parts = [f"{said}; {', '.join(others)}."]
    frozen = found.get("frozen")
    if frozen and frozen.method == "cycles":
        ends = f"{frozen.low:+.0f} to {frozen.high:+.0f}".replace("-", "−")
        parts.append(f"Within this one run the difference is {_signed(frozen)} ({ends} over its cycles).")
    elif frozen and frozen.method == "points" and frozen.runs > 1:
        apart = min(frozen.loop) > max(frozen.control), max(frozen.loop) < min(frozen.control)
        place = "above" if apart[0] else "below" if apart[1] else "among"
        parts.append(f"Every run of the loop lies {place} those that do not learn." if any(apart) else "")
    elif frozen and frozen.p is not None and not frozen.told_apart:
        parts.append(f"These runs could have shown a difference of {frozen.detectable:.0f} or more.")
    fixed = found.get("fixed")
    if frozen and frozen.told_apart and frozen.difference > 0 and fixed and fixed.p and not fixed.told_apart:
        parts.append(f"Against the fixed corpus they could have shown {fixed.detectable:.0f} or more.")
    return " ".join(filter(None, parts))


def _amount(values: tuple[float, ...]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.0f}" if mean >= 9.5 or mean == 0 else f"{mean:.1f}"


def _signed(contrast: Contrast) -> str:
    return f"{contrast.difference:+.0f}".replace("-", "−")
