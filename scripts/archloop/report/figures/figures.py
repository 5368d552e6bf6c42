"""What the five pictures show, from the tables: a finding as the title, a sentence for every panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from archloop.report.contrasts import Contrast
from archloop.report.figures import points as draw
from archloop.report.figures.areas import fates as draw_fates
from archloop.report.figures.forest import forest, said
from archloop.report.figures.panels import Panel
from archloop.report.figures.theme import FATES as FATE_COLORS
from archloop.report.groups import ROLES, called
from archloop.report.results import Results
from archloop.report.tables.candidates import FATES, front
from archloop.report.tables.rows import table_of
from archloop.report.tables.run_means import Compared, against
from archloop.report.wording import per_100, percent, signed
from archloop.settings.chains import SEED
from archloop.settings.sections import Report

BESIDE_THE_LOOP = 2  # groups, on the first screen
SMALL = 100_000  # parameters
FORESTS = {
    "new_good": ("New and good enough", "more per 100 generated"),
    "valid": ("Valid", "more per 100 generated"),
    "test": ("Test accuracy of the admitted", "points more on the mean"),
}
ADMITTED_FOREST = ("Admitted", "more per 100 generated")
Groups = dict[str, list[str]]  # role -> runs, the loop first


@dataclass(frozen=True)
class Picture:
    """A picture: its finding, its panels (none: nothing to draw yet), and a note where it has one."""

    finding: str
    panels: list[Panel]
    note: str = ""


def pictures(
    results: Results,
    found: Compared,
    tables: dict[str, pl.DataFrame],
    valid: pl.DataFrame,
    settings: Report,
) -> dict[str, Picture]:
    """Return the pictures by name (parts.FIGURES)."""
    shown = {"loop": found.loop, **found.controls}
    return {
        "fates": _fates(results, shown, tables["fates"]),
        "contrasts": _contrasts(results, found, tables["fates"], settings),
        "newer": _newer(results, shown, valid),
        "effort": _effort(results, shown, tables["cycles"], valid),
        "sizes": _sizes(results, shown, valid),
    }


def named(role: str, group: list[str]) -> str:
    """Return the name of a group with what it does."""
    return "The loop" if role == "loop" else f"{called(role, group)} ({ROLES[role][0]})"


def seed_programs(results: Results, dataset: str) -> pl.DataFrame:
    """Return the seed programs that were measured on a data set, the best by validation first."""
    own = results.corpus.filter(chain=SEED, dataset=dataset).drop_nulls("accuracy")
    return own.sort(["accuracy", "id"], descending=[True, False])


@dataclass(frozen=True)
class Growth:
    """How many of 100 are new and good enough, as text: means of the first and the last third."""

    first: str
    last: str


def _fates(results: Results, shown: Groups, fates: pl.DataFrame) -> Picture:
    roles = list(shown)
    if len(roles) > 1 + BESIDE_THE_LOOP and "fixed" in roles:
        roles.remove("fixed")

    last_cycle = 1
    for role in roles:
        for name in shown[role]:
            last_cycle = max(last_cycle, *results.chains[name].cycles)

    panels = []
    growth = {}
    for role in roles:
        own = fates.filter(pl.col("chain").is_in(shown[role]), pl.col("candidates") > 0)
        if own.height:
            panel, growth[role] = _fates_panel(named(role, shown[role]), own, last_cycle)
            panels.append(panel)

    if "loop" not in growth:
        return Picture("Nothing was generated yet", [])

    loop = growth.pop("loop")
    parts = [
        f"Of 100 programs of the loop, {loop.first} are new and good enough at first,"
        f" {loop.last} in the last third"
    ]
    for role, group in growth.items():
        parts.append(f"{ROLES[role][1]}: {group.first}, then {group.last}")
    return Picture("; ".join(parts), panels)


def _fates_panel(name: str, own: pl.DataFrame, last_cycle: int) -> tuple[Panel, Growth]:
    """Return the panel of a group. own: its rows of the table `fates`."""
    sums = own.group_by("cycle").agg(pl.col("candidates", *FATES).sum()).sort("cycle")
    of_100 = [(100 * pl.col(fate) / pl.col("candidates")).alias(fate) for fate in FATES]
    shares = sums.select("cycle", *of_100)
    good = 100 * pl.col("new_good") / pl.col("candidates")
    runs = own.select("cycle", "chain", good=good).sort("chain", "cycle")

    third = max(1, round(sums.height / 3))
    first = shares[:third].mean().row(0, named=True)
    last = shares[-third:].mean().row(0, named=True)
    growth = Growth(per_100(first["new_good"]), per_100(last["new_good"]))

    there = [f"{per_100(last[fate])} {words}" for fate, (_, words) in FATE_COLORS.items()]
    says = (
        f"{name}. New and good enough: {growth.first} of 100 in the first third of its cycles,"
        f" {growth.last} in the last. There: {', '.join(there)}"
    )
    rows = shares.unpivot(list(FATES), index="cycle", variable_name="fate", value_name="share")
    title = f"{name}: {growth.first} new and good at first, mean of the last third {growth.last}"
    return draw_fates(title, rows, runs, last_cycle, says), growth


def _contrasts(results: Results, found: Compared, fates: pl.DataFrame, settings: Report) -> Picture:
    panels = []
    measures = [settings.measure, *(name for name in FORESTS if name != settings.measure)]
    for measure in measures:
        compared = against(results, found, fates, settings, measure, found.controls)
        title, unit = FORESTS.get(measure, ADMITTED_FOREST)

        rows = []
        for role, comparison in compared.items():
            name = f"{found.controls[role][0]}: {ROLES[role][0]}"
            rows.append((name, comparison.contrast))

        if rows:
            parts = [f"{title}, the loop minus {name}: {said(each)}" for name, each in rows]
            panels.append(forest(title, rows, unit, "; ".join(parts)))

    for role, contrast in found.verdict.contrasts.items():
        return Picture(_difference(contrast, ROLES[role][1]), panels)
    return Picture("There is no control to compare the loop with", [])


def _difference(contrast: Contrast, control: str) -> str:
    amount = signed(abs(contrast.difference)).lstrip("+")
    side = "more" if contrast.difference >= 0 else "fewer"
    finding = f"The loop makes {amount} {side} per 100 than {control}"
    if contrast.told_apart:
        return finding
    if contrast.p:
        return f"{finding}, a difference that is not shown"
    return f"{finding}, by too few runs to tell"


def _newer(results: Results, shown: Groups, valid: pl.DataFrame) -> Picture:
    """Compare each valid candidate with the program that it is nearest to.

    That is: how alike the two are, and how much better it is.
    """
    points = _gains(results, valid)
    wanted = {"the loop, first third": ("loop", False), "the loop, last third": ("loop", True)}
    if "random" in shown:
        wanted["random search, last third"] = ("random", True)

    panels, shares, noisy = [], [], False
    for title, (role, last) in wanted.items():
        own = _third(points.filter(pl.col("chain").is_in(shown[role])), last)
        if own.is_empty():
            continue
        better = own.filter(pl.col("similarity") < pl.col("copy_at"), pl.col("gain") > 0)
        share = percent(better.height / own.height, 0)
        shares.append(f"{share} {title}")
        says = f"{title}: of {own.height} valid programs {share} are newer than a copy and better"
        noise = own.select(pl.col("accuracy_sd").median()).item()
        noisy = noisy or bool(noise)
        panels.append(draw.newer(title, own, float(own["copy_at"][0]), noise, says))

    finding = "No neighbours yet"
    if shares:
        finding = f"No copy, and better than what it is nearest to: {', '.join(shares)}"
    note = "The bar at the left edge is the judge's noise: gains within it are none."
    if not noisy:
        note = ""
    return Picture(finding, panels, note)


def _gains(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return the valid candidates with `similarity` to the nearest and `gain` in accuracy over it."""
    columns = ("id", "dataset", "accuracy")
    both = pl.concat([results.corpus.select(columns), results.candidates.select(columns)])
    scores = both.unique(["id", "dataset"], keep="first").rename(
        {"id": "nearest_id", "accuracy": "before"}
    )

    # What it repeats, where it repeats anything; what computes the same graph is as near as can be.
    repeated = pl.col("repeat_of").is_not_null()
    nearest = pl.when(repeated).then("repeat_of").otherwise("nearest_id")
    repeat_similarity = pl.col("repeat_similarity").fill_null(1.0)
    similarity = pl.when(repeated).then(repeat_similarity).otherwise("nearest_similarity")

    return (
        valid.with_columns(nearest_id=nearest, similarity=similarity)
        .join(scores, on=["nearest_id", "dataset"], how="left")
        .drop_nulls(["before", "similarity"])
        .select(
            "chain",
            "cycle",
            "copy_at",
            "accuracy_sd",
            "similarity",
            gain=pl.col("accuracy") - pl.col("before"),
        )
    )


def _third(points: pl.DataFrame, last: bool) -> pl.DataFrame:
    """Return the points of the first or the last third of their cycles."""
    cycles = sorted(points["cycle"].unique())
    third = max(1, round(len(cycles) / 3))
    wanted = cycles[-third:] if last else cycles[:third]
    return points.filter(pl.col("cycle").is_in(wanted))


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


def _effort(results: Results, shown: Groups, cycles: pl.DataFrame, valid: pl.DataFrame) -> Picture:
    """Follow the test accuracy of the best by validation so far, after every cycle."""
    tested = valid.drop_nulls("test_accuracy")

    lines: list[BestSoFar] = []
    ends = []
    for role, group in shown.items():
        label = called(role, group)
        single: list[BestSoFar] = []
        for name in group:
            single += _best_so_far(role, label, cycles.filter(chain=name), tested)
        means = _means(single)
        if means:
            most = sorted(means, key=lambda line: line.programs)[-1]
            ends.append(f"{label} {most.test:.1f} %")

        lines += [*means, *single]

    if not ends:
        return Picture("Nothing was found yet", [])

    seeds = seed_programs(results, results.chains[shown["loop"][0]].dataset)
    seeds = seeds.drop_nulls("test_accuracy")
    seed_best = 100 * seeds["test_accuracy"][0] if seeds.height else None
    if seed_best:
        ends.append(f"the best seed program {seed_best:.1f} %")
    finding = f"Best that a run found, mean over runs, on the test set: {', '.join(ends)}"
    rows = table_of(BestSoFar, lines)
    panel = draw.effort("Best of a run so far, mean over runs", rows, seed_best, finding)
    return Picture(finding, [panel])


def _best_so_far(
    role: str, label: str, cycles: pl.DataFrame, tested: pl.DataFrame
) -> list[BestSoFar]:
    """Return the line of one run. cycles: its rows of that table. tested: valid candidates."""
    lines = []
    programs, best = 0, None
    for chain, cycle, count in (
        cycles.sort("cycle").select("chain", "cycle", "candidates").iter_rows()
    ):
        programs += count
        own = tested.filter(chain=chain, cycle=cycle)
        top = own.sort(["accuracy", "id"], descending=[True, False]).head(1).to_dicts()
        if top and (best is None or top[0]["accuracy"] > best["accuracy"]):
            best = top[0]
        if best:
            test = 100 * best["test_accuracy"]
            lines.append(BestSoFar(role, label, chain, cycle, programs, test))

    return lines


def _means(single: Sequence[BestSoFar]) -> list[BestSoFar]:
    """Return the mean over runs, of the cycles that all those have that have begun."""
    begun = len({line.chain for line in single})
    means = []
    for cycle in sorted({line.cycle for line in single}):
        own = [line for line in single if line.cycle == cycle]
        if len(own) == begun:  # no mean over fewer runs than before
            means.append(
                BestSoFar(
                    role=own[0].role,
                    label=own[0].label,
                    chain=None,
                    cycle=cycle,
                    programs=sum(line.programs for line in own) / begun,
                    test=sum(line.test for line in own) / begun,
                )
            )

    return means


def _sizes(results: Results, shown: Groups, valid: pl.DataFrame) -> Picture:
    """Compare the fronts of size and accuracy: chosen by validation, shown by their test accuracy."""
    known = ["test_accuracy", "parameters"]
    columns: list[Any] = ["id", "accuracy", "parameters", pl.col("test_accuracy").alias("test")]
    admitted = valid.filter(outcome="admitted").drop_nulls(known)
    dataset = results.chains[shown["loop"][0]].dataset

    designs = {"the loop": admitted.filter(pl.col("chain").is_in(shown["loop"])).select(columns)}
    roles = {"the loop": "loop", "seed programs": "seed"}
    if "random" in shown:
        name = shown["random"][0]
        designs[name] = admitted.filter(pl.col("chain").is_in(shown["random"])).select(columns)
        roles[name] = "random"

    designs["seed programs"] = seed_programs(results, dataset).drop_nulls(known).select(columns)

    fronts, best = [], []
    for name, own in designs.items():
        on_front = own.filter(front(own)).sort("parameters")
        if on_front.height:
            role = roles[name]
            numbers = _numbers(on_front.height) if role == "loop" else [None] * on_front.height
            number = pl.Series("number", numbers, dtype=pl.Int64)
            fronts.append(on_front.with_columns(number, role=pl.lit(role), label=pl.lit(name)))
            small = on_front.filter(pl.col("parameters") < SMALL)
            best.append(f"{name} {percent(small['test'][-1]) if small.height else 'none'}")

    if not fronts or designs["the loop"].is_empty():
        return Picture("Nothing was admitted yet", [])

    cloud = admitted.filter(pl.col("dataset") == dataset).select("parameters", test="test_accuracy")
    finding = f"Best below {SMALL:,} parameters, on the test set: {', '.join(best)}"
    panel = draw.sizes("Size against accuracy", cloud, pl.concat(fronts), finding)
    return Picture(finding, [panel])


def _numbers(count: int) -> list[int | None]:
    """Return the numbers that designs of a front are marked with: of many, every few."""
    step = -(-count // draw.MOST_NUMBERED)
    numbers: list[int | None] = [None] * count
    for number, index in enumerate(range(0, count, step), start=1):
        numbers[index] = number
    return numbers
