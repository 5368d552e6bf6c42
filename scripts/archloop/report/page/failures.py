"""What fails in a run, and why, for the page."""

from dataclasses import dataclass

import polars as pl

from archloop.outcomes import NOT_VALID
from archloop.report.contrasts import window
from archloop.report.groups import Groups
from archloop.report.results import Results, programs
from archloop.report.tables.typed_tables import TablesByName, of_chains, total_count
from archloop.texts import visible

REASONS_SHOWN = 3
EXAMPLE_LINES = 60


@dataclass(frozen=True)
class Reason:
    """A reason of `count` failures of all `of`, with an example."""

    outcome: str
    reason: str
    count: int
    of: int
    example_id: str
    example_detail: str
    program: str


@dataclass(frozen=True)
class Failures:
    """What fails where.

    checks: those that anything fails. shares: role -> check -> of 100 generated. largest: of all
    shares. reasons: role -> its most frequent ones.
    """

    checks: list[str]
    shares: dict[str, dict[str, float]]
    largest: float
    reasons: dict[str, list[Reason]]
    finding: str


def what_fails(results: Results, tables: TablesByName, groups: Groups) -> Failures:
    """Return what fails in the last third of the cycles, and the most frequent reasons.

    groups: role -> runs.
    """
    shares = {}
    for role, group in groups.items():
        cycles = of_chains(tables["cycles"], group)
        of_role = _shares(cycles)
        if of_role is not None:
            shares[role] = of_role

    most = dict.fromkeys(NOT_VALID, 0.0)
    for of_group in shares.values():
        for check, share in of_group.items():
            most[check] = max(most[check], share)

    checks = [check for check, share in most.items() if share]

    reasons = {}
    for role in ("loop", "frozen"):
        if role in groups:
            reasons[role] = _reasons(results, tables["failures"], groups[role])

    return Failures(
        checks=checks,
        shares=shares,
        largest=max(most.values()) or 1.0,
        reasons=reasons,
        finding=_finding(shares.get("loop"), checks),
    )


def _shares(cycles: pl.DataFrame) -> dict[str, float] | None:
    """Return check -> how many of 100 fail it in the last third of the cycles; None of no cycle."""
    last_third = window(cycles["cycle"].unique().to_list(), 1 / 3)
    last_cycles = cycles.filter(pl.col("cycle").is_in(last_third))
    sums = last_cycles.sum().row(0, named=True)
    candidates = sums["candidates"]
    if not candidates:
        return None
    return {check: 100 * sums[check] / candidates for check in NOT_VALID}


def _finding(shares: dict[str, float] | None, checks: list[str]) -> str:
    if shares is None or not checks:
        return "Nothing failed"
    check = max(checks, key=lambda name: shares[name])
    name, share = check.replace("_", " "), shares[check]
    return f"Most often the loop fails at {name}: {share:.0f} of 100 in the last third"


def _reasons(results: Results, failures: pl.DataFrame, group: list[str]) -> list[Reason]:
    """Return the most frequent reasons of a group's runs taken together, each with an example."""
    of_group = of_chains(failures, group)
    examples = pl.col("example_id", "example_detail").first()
    counted = of_group.group_by("outcome", "reason", maintain_order=True).agg(
        pl.col("count").sum(), examples
    )
    by = ["count", "outcome", "reason"]
    most_first = counted.sort(by, descending=[True, False, False])
    rows = most_first.head(REASONS_SHOWN).to_dicts()
    # Programs are most of what the run holds: only those of the examples' cycles are read.
    texts = programs(results, {row["example_id"] for row in rows})

    count = total_count(of_group, "count")
    reasons = []
    for row in rows:
        program = texts.get(row["example_id"]) or ""
        reason = Reason(**row, of=count, program=_cut(program))
        reasons.append(reason)

    return reasons


def _cut(program: str) -> str:
    lines = visible(program).splitlines()
    shown = lines[:EXAMPLE_LINES]
    more = len(lines) - len(shown)
    if more:
        shown.append(f"... {more} more lines")
    return "\n".join(shown)
