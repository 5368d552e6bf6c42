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
POWER = 0.8


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
        return self.test is not None and self.test.p < 1 - CONFIDENCE


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
    found: dict[str, Contrast] = {}
    for name in controls:
        ours, theirs = _valued(loop[name]), _valued(controls[name])
        if not len(ours) or not len(theirs):
            continue
        contrast = _describe(ours, theirs)
        if contrast.runs >= LEAST_RUNS:
            sides = [
                _variance(contrast.loop, ours, shares) / len(ours),
                _variance(contrast.control, theirs, shares) / len(theirs),
            ]
            contrast = replace(contrast, method="runs", test=_welch(contrast, sides, len(controls)))
        elif len(ours) == len(theirs) == 1:
            interval = _bootstrap(ours[0], theirs[0], resamples, derive(seed, f"contrast {name}"))
            if interval:
                contrast = replace(contrast, method="cycles", low=interval[0], high=interval[1])

        found[name] = contrast

    return found | _adjust(found)


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
    counts, totals = cells[:, :, 0], cells[:, :, 1]
    shares: np.ndarray = 100 * counts.sum(axis=1) / totals.sum(axis=1)
    return shares


def _adjust(found: dict[str, Contrast]) -> dict[str, Contrast]:
    """Return the tested contrasts with Holm's p, and with intervals that agree with it.

    What is shown keeps the level of its own step; all else has that of the step at which the
    procedure stopped.
    """
    tests = {name: contrast.test for name, contrast in found.items() if contrast.test}
    adjusted = holm({name: test.p for name, test in tests.items()})
    shown = sum(p < 1 - CONFIDENCE for p in adjusted.values())

    result = {}
    for step, name in enumerate(sorted(tests, key=lambda name: tests[name].p)):
        test, contrast = tests[name], found[name]
        level = (1 - CONFIDENCE) / (len(tests) - min(step, shown))
        half = test.error * float(stats.t.ppf(1 - level / 2, test.freedom))
        result[name] = replace(
            contrast,
            low=contrast.difference - half,
            high=contrast.difference + half,
            test=replace(test, p=adjusted[name]),
        )

    return result


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return S. Holm's adjusted p values (1979).

    The smallest times their number, the next times one less, and so on, none below the one before.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for step, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - step)))
        adjusted[name] = largest

    return adjusted


def window(common: list[int], share: float) -> list[int]:
    """Return the last cycles of those that all finished: that share of them, one at least."""
    count = max(1, round(len(common) * share))
    return sorted(common)[-count:]


def _valued(cells: np.ndarray) -> np.ndarray:
    """Return the runs that have anything to count."""
    valued: np.ndarray = cells[cells[:, :, 1].sum(axis=1) > 0]
    return valued


def _variance(values: tuple[float, ...], cells: np.ndarray, shares: bool) -> float:
    """Return the variance over runs.

    Of shares it is at least that of as many independent draws, by Agresti's estimate, which is
    never 0.
    """
    variance = float(np.var(values, ddof=1))
    if not shares:
        return variance
    count = cells[:, :, 0].sum() / len(cells)
    of = cells[:, :, 1].sum() / len(cells)
    share = (count + 2) / (of + 4)
    least: float = 10_000 * share * (1 - share) / of
    return max(variance, least)


def _welch(contrast: Contrast, sides: list[float], compared: int) -> Welch | None:
    """Return the test, None where no run differs from another. sides: squared standard errors."""
    if sum(sides) == 0:
        return None

    error = sum(sides) ** 0.5
    runs = len(contrast.loop), len(contrast.control)

    # Welch and Satterthwaite's degrees of freedom.
    spread = sides[0] ** 2 / (runs[0] - 1) + sides[1] ** 2 / (runs[1] - 1)
    freedom = sum(sides) ** 2 / spread

    # Told apart is what survives Holm's first and hardest step.
    critical = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / compared, freedom)
    needed = nctdtrinc(freedom, 1 - POWER, critical)

    return Welch(
        p=float(2 * stats.t.sf(abs(contrast.difference) / error, freedom)),
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
    length = max(1, round(cycles ** (1 / 3)))
    blocks = -(-cycles // length)

    resampled = []
    for side in (loop, control):
        starts = rng.integers(0, cycles, (resamples, blocks))
        drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)
        sums = side[drawn[:, :cycles] % cycles].sum(axis=1)
        resampled.append(100 * sums[:, 0] / np.maximum(sums[:, 1], 1e-9))

    differences = resampled[0] - resampled[1]
    middle = differences.mean()
    widened = middle + (differences - middle) * (cycles / (cycles - 1)) ** 0.5
    low, high = np.quantile(widened, (0.025, 0.975))
    return float(low), float(high)
