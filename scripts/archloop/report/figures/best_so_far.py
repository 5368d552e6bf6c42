"""The best that each run has found after every cycle, for the figure of effort."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from archloop.report.tables.typed_tables import best_first


@dataclass(frozen=True)
class BestSoFar:
    """The best by validation that a run has found after a cycle, of so many programs.

    test: its test accuracy in per cent. chain: None for the mean over the runs of a group.
    """

    role: str
    label: str
    chain: str | None
    cycle: int
    programs: float
    test: float


def best_so_far(
    role: str, label: str, cycles: pl.DataFrame, tested: pl.DataFrame
) -> list[BestSoFar]:
    """Return the line of one run.

    cycles: its rows of the table `cycles`. tested: valid candidates whose test accuracy is known.
    """
    lines = []
    programs = 0
    accuracy, test = -math.inf, None
    in_order = cycles.sort("cycle").select("chain", "cycle", "candidates")
    for chain, cycle, count in in_order.iter_rows():
        programs += count
        of_cycle = tested.filter(chain=chain, cycle=cycle)
        # The accuracy that selects decides; the test set's is what is shown of the selected.
        for top in best_first(of_cycle).head(1).iter_rows(named=True):
            if top["accuracy"] > accuracy:
                accuracy = top["accuracy"]
                test = 100 * top["test_accuracy"]
        if test is not None:
            line = BestSoFar(role, label, chain, cycle, programs, test)
            lines.append(line)

    return lines


def means_over_runs(single: Sequence[BestSoFar]) -> list[BestSoFar]:
    """Return the mean over runs, for the cycles that each of them has. single: a line of each."""
    begun = len({line.chain for line in single})
    means = []
    for cycle in sorted({line.cycle for line in single}):
        of_cycle = [line for line in single if line.cycle == cycle]
        if len(of_cycle) == begun:  # no mean over fewer runs than before
            means.append(
                BestSoFar(
                    role=of_cycle[0].role,
                    label=of_cycle[0].label,
                    chain=None,
                    cycle=cycle,
                    programs=sum(line.programs for line in of_cycle) / begun,
                    test=sum(line.test for line in of_cycle) / begun,
                )
            )

    return means
