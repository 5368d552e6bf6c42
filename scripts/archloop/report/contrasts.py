"""The runs of the loop against those of a control: the unit is the run, never the candidate.

Candidates of one cycle share an adapter and repeat each other's programs, and cycles of one run
share its history, so neither tells how another run would go. From three runs on each side on it is
Welch's t test over the runs' values; two runs are shown as they are; of one run a block bootstrap
over its cycles tells how sure its own average is, no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import nctdtrinc

from archloop.random_seeds import derive

LEAST_RUNS = 3  # on each side, below which nothing is tested
LEAST_CYCLES = 4  # below which a block bootstrap has nothing to draw from
CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
NOTHING = 1e-9  # in place of a count of 0 that is divided by


@dataclass(frozen=True)
class Welch:
    """Welch's t test over runs.

    error, freedom: its standard error and degrees of freedom. detectable: the smallest true
    difference that would be found four times in five.
    """

    p: float
    error: float
    freedom: float
    detectable: float


@dataclass(frozen=True)
class Contrast:
    """The loop minus one control, per 100.

    loop, control: the value of each run. method: `runs` (t over runs), `points` (bare values),
    `cycles` (block bootstrap). low, high: 95 %; over runs as wide as Holm's step asks, so that they
    leave out 0 exactly where a difference is shown; None with method `points`. test: its p is
    Holm's; None unless over runs that differ.
    """

    loop: tuple[float, ...]
    control: tuple[float, ...]
    difference: float
    method: Literal["runs", "points", "cycles"]
    low: float | None = None
    high: float | None = None
    test: Welch | None = None

    @property
    def runs(self) -> int:
        return min(len(self.loop), len(self.control))

    @property
    def p(self) -> float | None:
        return self.test.p if self.test else None

    @property
    def detectable(self) -> float | None:
        return self.test.detectable if self.test else None

    @property
    def told_apart(self) -> bool:
        return self.p is not None and self.p < ALPHA


def contrasts(
    loop: Mapping[str, np.ndarray],
    controls: Mapping[str, np.ndarray],
    resamples: int,
    seed: int,
    shares: bool = True,
) -> dict[str, Contrast]:
    """Return each control's contrast; the p values are Holm's over all of them.

    loop, controls: by control, (runs, cycles, 2): what was counted and of how many, in the cycles
    that both finished. shares: counts of things that happened or not, whose spread over runs cannot
    be below what chance alone makes. Controls without a run of any value, on either side, are left
    out.
    """
    by_control: dict[str, Contrast] = {}
    for name in controls:
        ours = _valued(loop[name])
        theirs = _valued(controls[name])
        if not len(ours) or not len(theirs):
            continue
        contrast = _describe(ours, theirs)
        if contrast.runs >= LEAST_RUNS:
            # Unlike the pooled variance of Student's test, one of each side lets the loop's runs
            # vary more, or less, than those of its control.
            sides = [
                _variance(contrast.loop, ours, shares) / len(ours),
                _variance(contrast.control, theirs, shares) / len(theirs),
            ]
            test = _welch(contrast, sides, len(controls))
            contrast = replace(contrast, method="runs", test=test)
        elif len(ours) == len(theirs) == 1:
            # A seed of its own: another control beside it changes no interval.
            of_control = derive(seed, f"contrast {name}")
            interval = _bootstrap(ours[0], theirs[0], resamples, of_control)
            if interval:
                low, high = interval
                contrast = replace(contrast, method="cycles", low=low, high=high)

        by_control[name] = contrast

    return by_control | _adjust(by_control)


def _describe(loop: np.ndarray, control: np.ndarray) -> Contrast:
    """Return the values of the runs and their difference, not tested."""
    ours, theirs = _values(loop), _values(control)

    return Contrast(
        loop=tuple(ours.tolist()),
        control=tuple(theirs.tolist()),
        difference=float(ours.mean() - theirs.mean()),
        method="points",
    )


def _values(cells: np.ndarray) -> np.ndarray:
    """Return what each run counted of 100."""
    counts = cells[:, :, 0].sum(axis=1)
    totals = cells[:, :, 1].sum(axis=1)
    shares: np.ndarray = 100 * counts / totals
    return shares


def _adjust(by_control: dict[str, Contrast]) -> dict[str, Contrast]:
    """Return the tested contrasts with Holm's p, and with intervals that agree with it.

    What is shown keeps the level of its own step; all else has that of the step at which the
    procedure stopped.
    """
    tests = {}
    p_values = {}
    for name, contrast in by_control.items():
        if contrast.test:
            tests[name] = contrast.test
            p_values[name] = contrast.test.p

    adjusted = holm(p_values)
    shown = sum(p < ALPHA for p in adjusted.values())

    result = {}
    for step, name in enumerate(adjusted):
        test, contrast = tests[name], by_control[name]
        # Holm's procedure gives no intervals. These leave out 0 exactly where p is below the level.
        hypotheses = len(tests) - min(step, shown)
        level = ALPHA / hypotheses
        quantile = stats.t.ppf(1 - level / 2, test.freedom)
        half = test.error * float(quantile)
        result[name] = replace(
            contrast,
            low=contrast.difference - half,
            high=contrast.difference + half,
            test=replace(test, p=adjusted[name]),
        )

    return result


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return S. Holm's adjusted p values (1979), the smallest first.

    The smallest times their number, the next times one less, and so on, none below the one before.
    """
    smallest_first = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    largest = 0.0
    for step, name in enumerate(smallest_first):
        hypotheses = len(p_values) - step
        p = min(1.0, p_values[name] * hypotheses)
        largest = max(largest, p)
        adjusted[name] = largest

    return adjusted


def window(common: list[int], share: float) -> list[int]:
    """Return the last cycles of those that all finished: that share of them, one at least."""
    count = round(len(common) * share)
    return sorted(common)[-max(1, count) :]


def _valued(cells: np.ndarray) -> np.ndarray:
    """Return the runs that have anything to count."""
    totals = cells[:, :, 1].sum(axis=1)
    valued: np.ndarray = cells[totals > 0]
    return valued


def _variance(values: tuple[float, ...], cells: np.ndarray, shares: bool) -> float:
    """Return the variance over runs.

    Of shares it is at least that of as many independent draws, by Agresti's estimate, which is
    never 0.
    """
    variance = float(np.var(values, ddof=1))
    if not shares:
        return variance

    # Three runs may agree by luck; without a floor that would count as certainty.
    count, of = cells.sum(axis=(0, 1)) / len(cells)
    share = (count + 2) / (of + 4)
    per_100 = 10_000 * share * (1 - share)
    least: float = per_100 / of
    return max(variance, least)


def _welch(contrast: Contrast, sides: list[float], compared: int) -> Welch | None:
    """Return the test, None where no run differs from another. sides: squared standard errors."""
    if sum(sides) == 0:
        return None

    error = sum(sides) ** 0.5

    # Welch and Satterthwaite's degrees of freedom.
    spread_of_loop = sides[0] ** 2 / (len(contrast.loop) - 1)
    spread_of_control = sides[1] ** 2 / (len(contrast.control) - 1)
    freedom = sum(sides) ** 2 / (spread_of_loop + spread_of_control)

    # The upper tail itself: one minus the rest of it would round small p values to 0.
    one_sided = stats.t.sf(abs(contrast.difference) / error, freedom)

    # Told apart is what survives Holm's first and hardest step.
    critical = stats.t.ppf(1 - ALPHA / 2 / compared, freedom)
    needed = nctdtrinc(freedom, 1 - POWER, critical)

    return Welch(
        p=float(2 * one_sided),
        error=float(error),
        freedom=float(freedom),
        detectable=float(error * needed),
    )


def _bootstrap(
    loop: np.ndarray, control: np.ndarray, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Return the percentile interval over circular blocks of cycles, drawn for each side apart.

    Blocks are as long as the cube root of the number of cycles: neighbours resemble each other.
    Deviations are widened by n / (n - 1), for a percentile interval of few cycles is too narrow.
    """
    cycles = len(loop)
    if cycles < LEAST_CYCLES:
        return None

    rng = np.random.default_rng(seed)
    length = round(cycles ** (1 / 3))
    blocks = -(-cycles // length)

    resampled = []
    for side in (loop, control):
        starts = rng.integers(0, cycles, (resamples, blocks))
        in_blocks = starts[:, :, None] + np.arange(length)
        # A block that runs over the end goes on at the start, so every cycle is drawn as often.
        drawn = in_blocks.reshape(resamples, -1)[:, :cycles] % cycles
        counts, totals = side[drawn].sum(axis=1).T
        resampled.append(100 * counts / np.maximum(totals, NOTHING))

    differences = resampled[0] - resampled[1]
    middle = differences.mean()
    widening = (cycles / (cycles - 1)) ** 0.5
    widened = middle + (differences - middle) * widening
    low, high = np.quantile(widened, (0.025, 0.975))
    return float(low), float(high)
