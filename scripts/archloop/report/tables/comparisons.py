"""The loop against every other group of runs: who is compared with whom, and what comes of it."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from archloop.report.groups import Groups, controls_of, differing, loop_of, ordered
from archloop.report.loop_verdict import Verdict, reach_verdict
from archloop.report.results import Results
from archloop.report.run_counts import Comparison, compare, counts_of
from archloop.report.tables.typed_tables import of_chains, table_of, total_count
from archloop.settings.sections import Report

MEASURES = ("new_good", "valid", "admitted", "test")
# Measure -> the columns of `fates` with what is counted, and of how many.
COUNTED = {
    "new_good": ("new_good", "candidates"),
    "valid": ("valid", "candidates"),
    "admitted": ("admitted", "candidates"),
    "test": ("test_sum", "test_n"),
}


@dataclass(frozen=True)
class Compared:
    """The loop, its controls (role -> runs), all groups in the order of the page, the verdict."""

    loop: list[str]
    controls: Groups
    groups: list[list[str]]
    verdict: Verdict


@dataclass(frozen=True)
class ContrastRow:
    """The loop (`reference`) minus a group of runs by one measure: a row of `contrast_table`."""

    chain: str
    reference: str
    role: str | None
    differs: str
    measure: str
    first_cycle: int
    last_cycle: int
    matched: bool
    reference_value: float
    value: float
    difference: float
    low: float | None
    high: float | None
    method: str
    p_holm: float | None
    detectable: float | None
    reference_runs: str
    runs: str


def compared(results: Results, fates: pl.DataFrame, settings: Report) -> Compared:
    """Return who is compared with whom, and the verdict."""
    loop = loop_of(results, settings.loop)
    controls = controls_of(results, loop, settings.controls)
    planned = {name: chain.planned for name, chain in results.chains.items()}
    verdict = reach_verdict(fates, loop, controls, planned, settings, results.random_seed)
    return Compared(loop, controls, ordered(results, loop, controls), verdict)


def against(
    results: Results,
    sides: Compared,
    fates: pl.DataFrame,
    settings: Report,
    measure: str,
    names: Groups,
) -> dict[str, Comparison]:
    """Return name -> the loop against that group by one measure; Holm's p over all of `names`.

    measure: of MEASURES; `test` is the mean accuracy on the test set of what was admitted.
    """
    counts = counts_of(fates, *COUNTED[measure])
    shares = measure != "test"
    return compare(counts, sides.loop, names, settings, results.random_seed, shares)


def contrast_table(
    results: Results, sides: Compared, fates: pl.DataFrame, settings: Report
) -> pl.DataFrame:
    """Return the loop minus every other group on its data set, by each of MEASURES.

    Values are per 100, over the last cycles. role: of the controls, whose p values are adjusted
    together; the others, looked at besides, are adjusted together too. method: `runs` (Welch's t
    over runs), `points` (two runs or fewer: no interval), `cycles` (one run: a block bootstrap over
    its cycles). matched: a run of either side had as many candidates in these cycles.
    """
    dataset = results.chains[sides.loop[0]].dataset
    taken = (sides.loop, *sides.controls.values())

    others = {}
    for group in sides.groups:
        if results.chains[group[0]].dataset == dataset and group not in taken:
            others[group[0]] = group

    rows = []
    for measure in MEASURES:
        for names in (sides.controls, others):
            comparisons = against(results, sides, fates, settings, measure, names)
            for name, comparison in comparisons.items():
                group = names[name]
                rows.append(_contrast_row(results, fates, sides, group, measure, comparison))

    return table_of(ContrastRow, rows)


def _contrast_row(
    results: Results,
    fates: pl.DataFrame,
    sides: Compared,
    group: list[str],
    measure: str,
    comparison: Comparison,
) -> ContrastRow:
    contrast, cycles = comparison.contrast, comparison.cycles
    ours = candidates_a_run(fates, sides.loop, cycles)
    theirs = candidates_a_run(fates, group, cycles)
    roles = [role for role, runs in sides.controls.items() if runs == group]
    return ContrastRow(
        chain=", ".join(group),
        reference=", ".join(sides.loop),
        role=roles[0] if roles else None,
        differs=differing(results, group[0], sides.loop[0]),
        measure=measure,
        first_cycle=cycles[0],
        last_cycle=cycles[-1],
        matched=ours == theirs,
        reference_value=float(np.mean(contrast.loop)),
        value=float(np.mean(contrast.control)),
        difference=contrast.difference,
        low=contrast.low,
        high=contrast.high,
        method=contrast.method,
        p_holm=contrast.p,
        detectable=contrast.detectable,
        reference_runs=_listed(contrast.loop),
        runs=_listed(contrast.control),
    )


def candidates_a_run(fates: pl.DataFrame, group: list[str], common: list[int]) -> float:
    """Return how many candidates a run of a group had in these cycles, on average."""
    cycles = of_chains(fates, group).filter(pl.col("cycle").is_in(common))
    return total_count(cycles, "candidates") / len(group)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
