"""What is counted in the cycles of runs, and the loop against other runs by it.

Two sides are compared over cycles that both finished.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from archloop.layout import Cell
from archloop.report.contrasts import Contrast, contrasts, window
from archloop.report.groups import Groups
from archloop.settings.sections import Report


class Count(NamedTuple):
    """What was counted in a cycle of a run, and of how many."""

    counted: float
    of: int


Counts = Mapping[Cell, Count]


@dataclass(frozen=True)
class Comparison:
    """The loop against one group of runs: their contrast, and the cycles that it is over."""

    contrast: Contrast
    cycles: list[int]


def counts_of(rows: pl.DataFrame, counted: str, of: str) -> Counts:
    """Return what was counted in each cycle. rows: chain, cycle, and two columns named so."""
    counts = {}
    for chain, cycle, count, total in rows.select("chain", "cycle", counted, of).iter_rows():
        counts[Cell(chain, cycle)] = Count(count, total)
    return counts


def compare(
    cells: Counts,
    loop: list[str],
    others: Groups,
    settings: Report,
    seed: int,
    shares: bool = True,
) -> dict[str, Comparison]:
    """Return name -> the loop against those runs; runs that have not begun are left out.

    others: name -> runs.
    """
    ours: dict[str, np.ndarray] = {}
    theirs: dict[str, np.ndarray] = {}
    windows: dict[str, list[int]] = {}
    for name, runs in others.items():
        finished = finished_cycles(cells, [*loop, *runs])
        begun = [run for run in loop if finished[run]]
        begun_there = [run for run in runs if finished[run]]
        if not begun or not begun_there:
            continue
        # Later cycles of one side would compare other stages of learning.
        common = common_cycles(finished, begun + begun_there)
        cycles = window(common, settings.window)
        if cycles:
            windows[name] = cycles
            ours[name] = array_of(cells, begun, cycles)
            theirs[name] = array_of(cells, begun_there, cycles)

    compared = {}
    for name, contrast in contrasts(ours, theirs, settings.resamples, seed, shares).items():
        compared[name] = Comparison(contrast, windows[name])
    return compared


def array_of(cells: Counts, runs: list[str], cycles: list[int]) -> np.ndarray:
    """Return the cells as floats (runs, cycles, 2)."""
    rows = []
    for run in runs:
        rows.append([cells[Cell(run, cycle)] for cycle in cycles])
    return np.array(rows, float)


def finished_cycles(cells: Iterable[Cell], runs: list[str]) -> dict[str, set[int]]:
    """Return run -> the cycles that it finished."""
    finished: dict[str, set[int]] = {run: set() for run in runs}
    for run, cycle in cells:
        if run in finished:
            finished[run].add(cycle)

    return finished


def common_cycles(finished: dict[str, set[int]], runs: list[str]) -> list[int]:
    """Return the cycles that all these runs finished."""
    if not runs:
        return []
    of_runs = [finished[run] for run in runs]
    return sorted(set.intersection(*of_runs))
