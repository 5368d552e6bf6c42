"""The runs of the loop against those of a control: the unit is the run, never the candidate.

Candidates of one cycle share an adapter and repeat each other's programs, and cycles of one run share its history, so
neither tells how another run would go. From three runs on each side on it is Welch's t test over the runs' values; two
runs are shown as they are; of one run a block bootstrap over its cycles tells how sure its own average is, no more.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.special import nctdtrinc

from archloop.random_seeds import derive

LEAST_RUNS = 3  # on each side, below which nothing is tested
LEAST_CYCLES = 4  # below which a block bootstrap has nothing to draw from
CONFIDENCE, POWER = 0.95, 0.8


@dataclass(frozen=True)
class Contrast:
    """The loop minus one control, per 100. method: `runs` (t over runs), `points` (bare), `cycles` (block bootstrap).

    loop, control: the value of each run. low, high: 95 %, over runs as wide as Holm's step asks: it leaves out 0
    exactly where a difference is shown; None with method `points`. p: Holm's. error, freedom: of Welch's t. detectable:
    the smallest difference that would be found four times in five. These four are None unless over runs.
    """

    loop: tuple[float, ...]
    control: tuple[float, ...]
    difference: float
    method: str
    low: float | None = None
    high: float | None = None
    p: float | None = None
    error: float | None = None
    freedom: float | None = None
    detectable: float | None = None

    @property
    def runs(self) -> int:
        return min(len(self.loop), len(self.control))

    @property
    def told_apart(self) -> bool:
        return self.p is not None and self.p < 1 - CONFIDENCE


def contrasts(
    loop: dict[str, np.ndarray],
    controls: dict[str, np.ndarray],
    resamples: int,
    seed: int,
    shares: bool = True,
) -> dict[str, Contrast]:
    """Return each control's contrast; the p values are Holm's over all of them.

    loop, controls: by control, (runs, cycles, 2): what was counted and of how many, in the cycles that both finished.
    shares: counts of things that happened or not, whose spread over runs cannot be below what chance alone makes.
    Controls without a run of any value, on either side, are left out.
    """
    found = {}
    for name, cells in controls.items():
        sides = [_valued(cells_of) for cells_of in (loop[name], cells)]
        if all(len(side) for side in sides):
            found[name] = _contrast(
                *sides, resamples, derive(seed, f"contrast {name}"), shares, len(controls)
            )
    return found | _adjusted({name: each for name, each in found.items() if each.p is not None})


def _adjusted(tested: dict[str, Contrast]) -> dict[str, Contrast]:
    """Return contrasts with Holm's p, and with intervals that agree with it.

    What is shown keeps the level of its own step; all else has that of the step at which the procedure stopped.
    """
    adjusted = holm({name: each.p for name, each in tested.items()})
    stopped = sum(p < 1 - CONFIDENCE for p in adjusted.values())
    found = {}
    for place, name in enumerate(sorted(tested, key=lambda each: tested[each].p)):
        each = tested[name]
        level = (1 - CONFIDENCE) / (len(tested) - min(place, stopped))
        half = each.error * float(stats.t.ppf(1 - level / 2, each.freedom))
        ends = {"low": each.difference - half, "high": each.difference + half}
        found[name] = replace(each, p=adjusted[name], **ends)
    return {name: found[name] for name in tested}


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Return S. Holm's adjusted p values (1979): the smallest times their number, the next times one less, ..."""
    adjusted, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.get)):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - place)))
        adjusted[name] = largest
    return adjusted


def window(common: list[int], share: float) -> list[int]:
    """Return the last cycles of those that all finished: that share of them, one at least."""
    return sorted(common)[-max(1, round(len(common) * share)) :] if common else []


def _valued(cells: np.ndarray) -> np.ndarray:
    """Return the runs that have anything to count."""
    return cells[cells[:, :, 1].sum(axis=1) > 0]


def _contrast(
    loop: np.ndarray, control: np.ndarray, resamples: int, seed: int, shares: bool, compared: int
) -> Contrast:
    values = [
        100 * side[:, :, 0].sum(axis=1) / side[:, :, 1].sum(axis=1) for side in (loop, control)
    ]
    facts = {"loop": tuple(values[0].tolist()), "control": tuple(values[1].tolist())}
    facts["difference"] = float(values[0].mean() - values[1].mean())
    runs = [len(side) for side in values]
    if min(runs) >= LEAST_RUNS:
        parts = [
            _variance(side, cells, shares) / len(side)
            for side, cells in zip(values, (loop, control))
        ]
        return Contrast(
            **facts, method="runs", **_welch(facts["difference"], parts, runs, compared)
        )
    if max(runs) == 1:
        interval = _bootstrap(loop[0], control[0], resamples, seed)
        if interval:
            return Contrast(**facts, method="cycles", low=interval[0], high=interval[1])
    return Contrast(**facts, method="points")


def _variance(values: np.ndarray, cells: np.ndarray, shares: bool) -> float:
    """Return the variance over runs, for shares at least that of as many independent draws (Agresti's, never 0)."""
    found = float(values.var(ddof=1))
    if not shares:
        return found
    count, of = cells[:, :, 0].sum() / len(cells), cells[:, :, 1].sum() / len(cells)
    share = (count + 2) / (of + 4)
    return max(found, 10_000 * share * (1 - share) / of)


def _welch(difference: float, parts: list[float], runs: list[int], compared: int) -> dict:
    """Return p and what could have been shown. parts: the squared standard error of each side."""
    if sum(parts) == 0:
        return {}
    error = sum(parts) ** 0.5
    freedom = sum(parts) ** 2 / sum(part**2 / (count - 1) for part, count in zip(parts, runs))
    # Told apart is what survives Holm's first and hardest step.
    needed = nctdtrinc(
        freedom, 1 - POWER, stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / compared, freedom)
    )
    return {
        "error": float(error),
        "freedom": float(freedom),
        "p": float(2 * stats.t.sf(abs(difference) / error, freedom)),
        "detectable": float(error * needed),
    }


def _bootstrap(
    loop: np.ndarray, control: np.ndarray, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Return the percentile interval over circular blocks of cycles, drawn for each side apart.

    Blocks are as long as the cube root of the number of cycles: neighbours resemble each other. Deviations are widened
    by n / (n - 1), for a percentile interval of few cycles is too narrow.
    """
    cycles = len(loop)
    if cycles < LEAST_CYCLES:
        return None
    dice = np.random.default_rng(seed)
    length = max(1, round(cycles ** (1 / 3)))
    drawn = []
    for side in (loop, control):
        starts = dice.integers(0, cycles, (resamples, -(-cycles // length)))
        places = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[
            :, :cycles
        ] % cycles
        sums = side[places].sum(axis=1)
        drawn.append(100 * sums[:, 0] / np.maximum(sums[:, 1], 1e-9))
    differences = drawn[0] - drawn[1]
    middle = differences.mean()
    ends = np.quantile(
        middle + (differences - middle) * (cycles / (cycles - 1)) ** 0.5, (0.025, 0.975)
    )
    return float(ends[0]), float(ends[1])
