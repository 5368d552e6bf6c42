"""What the figures show, from the tables: a finding as title, a sentence for every panel."""

from dataclasses import dataclass

import polars as pl

from archloop.quantities import percent
from archloop.report.contrasts import Contrast
from archloop.report.figures.areas import draw_fates
from archloop.report.figures.best_so_far import BestSoFar, best_so_far, means_over_runs
from archloop.report.figures.forest import draw_forest, in_numbers
from archloop.report.figures.panels import Panel
from archloop.report.figures.single_programs import (
    MOST_NUMBERED,
    draw_effort,
    draw_newer,
    draw_sizes,
)
from archloop.report.figures.theme import FATE_COLORS
from archloop.report.groups import ROLES, Groups, called
from archloop.report.results import Results
from archloop.report.tables.comparisons import Compared, against
from archloop.report.tables.per_candidate import FATES, front
from archloop.report.tables.typed_tables import TablesByName, best_first, of_chains, table_of
from archloop.report.wording import per_100, signed
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


@dataclass(frozen=True)
class Figure:
    """A figure: its finding, its panels (none: nothing to draw yet), and its note, if any."""

    finding: str
    panels: list[Panel]
    note: str = ""


def figures(
    results: Results,
    sides: Compared,
    tables: TablesByName,
    valid: pl.DataFrame,
    settings: Report,
) -> dict[str, Figure]:
    """Return the figures by name (parts.FIGURES)."""
    shown = {"loop": sides.loop, **sides.controls}
    return {
        "fates": _fates(results, shown, tables["fates"]),
        "contrasts": _contrasts(results, sides, tables["fates"], settings),
        "newer": _newer(results, shown, valid),
        "effort": _effort(results, shown, tables["cycles"], valid),
        "sizes": _sizes(results, shown, valid),
    }


def named(role: str, group: list[str]) -> str:
    """Return the name of a group with what it does."""
    if role == "loop":
        return "The loop"
    what = ROLES[role][0]
    return f"{called(role, group)} ({what})"


def measured_seed_programs(results: Results, dataset: str) -> pl.DataFrame:
    """Return the seed programs that were measured on a data set, the best by validation first."""
    seeds = results.corpus.filter(chain=SEED, dataset=dataset)
    return best_first(seeds.drop_nulls("accuracy"))


@dataclass(frozen=True)
class Growth:
    """How many of 100 are new and good enough, as text: means of the first and the last third."""

    first: str
    last: str


def _fates(results: Results, shown: Groups, fates: pl.DataFrame) -> Figure:
    roles = list(shown)
    too_many = len(roles) > 1 + BESIDE_THE_LOOP
    # The fixed corpus is the one that the first question can do without.
    if too_many and "fixed" in roles:
        roles.remove("fixed")

    finished = {1}
    for role in roles:
        for name in shown[role]:
            finished.update(results.chains[name].cycles)
    last_cycle = max(finished)

    panels = []
    growth = {}
    begun = fates.filter(pl.col("candidates") > 0)
    for role in roles:
        of_group = of_chains(begun, shown[role])
        if of_group.height:
            name = named(role, shown[role])
            panel, growth[role] = _fates_panel(name, of_group, last_cycle)
            panels.append(panel)

    if "loop" not in growth:
        return Figure("Nothing was generated yet", [])

    loop = growth.pop("loop")
    parts = [
        f"Of 100 programs of the loop, {loop.first} are new and good enough at first,"
        f" {loop.last} in the last third"
    ]
    for role, group in growth.items():
        name = ROLES[role][1]
        parts.append(f"{name}: {group.first}, then {group.last}")
    return Figure("; ".join(parts), panels)


def _fates_panel(name: str, fates: pl.DataFrame, last_cycle: int) -> tuple[Panel, Growth]:
    """Return the panel of a group. fates: its rows of the table `fates`."""
    counts = pl.col("candidates", *FATES)
    candidates = pl.col("candidates")
    sums = fates.group_by("cycle").agg(counts.sum()).sort("cycle")
    shares = sums.select("cycle", pl.col(FATES) * 100 / candidates)
    good = 100 * pl.col("new_good") / candidates
    runs = fates.select("cycle", "chain", good=good)

    # Of the mean of cycles: each has as many candidates, and an early one counts as much.
    third = max(1, round(sums.height / 3))
    first = shares[:third].mean().row(0, named=True)
    last = shares[-third:].mean().row(0, named=True)
    at_first = per_100(first["new_good"])
    at_last = per_100(last["new_good"])

    there = []
    for fate, (_, words) in FATE_COLORS.items():
        there.append(f"{per_100(last[fate])} {words}")
    says = (
        f"{name}. New and good enough: {at_first} of 100 in the first third of its cycles,"
        f" {at_last} in the last. There: {', '.join(there)}"
    )
    rows = shares.unpivot(FATES, index="cycle", variable_name="fate", value_name="share")
    title = f"{name}: {at_first} new and good at first, mean of the last third {at_last}"
    panel = draw_fates(title, rows, runs.sort("chain", "cycle"), last_cycle, says)
    return panel, Growth(at_first, at_last)


def _contrasts(results: Results, sides: Compared, fates: pl.DataFrame, settings: Report) -> Figure:
    panels = []
    for measure in dict.fromkeys([settings.measure, *FORESTS]):  # each once, in this order
        compared = against(results, sides, fates, settings, measure, sides.controls)
        title, unit = FORESTS.get(measure, ADMITTED_FOREST)

        rows = []
        sentences = []
        for role, comparison in compared.items():
            first_run = sides.controls[role][0]
            name = f"{first_run}: {ROLES[role][0]}"
            rows.append((name, comparison.contrast))
            numbers = in_numbers(comparison.contrast)
            sentences.append(f"{title}, the loop minus {name}: {numbers}")

        if rows:
            says = "; ".join(sentences)
            panels.append(draw_forest(title, rows, unit, says))

    for role, contrast in sides.verdict.contrasts.items():
        finding = _difference(contrast, ROLES[role][1])
        return Figure(finding, panels)
    return Figure("There is no control to compare the loop with", [])


def _difference(contrast: Contrast, control: str) -> str:
    amount = signed(abs(contrast.difference)).lstrip("+")
    side = "more" if contrast.difference >= 0 else "fewer"
    finding = f"The loop makes {amount} {side} per 100 than {control}"
    if contrast.told_apart:
        return finding
    if contrast.p:
        return f"{finding}, a difference that is not shown"
    return f"{finding}, by too few runs to tell"


def _newer(results: Results, shown: Groups, valid: pl.DataFrame) -> Figure:
    """Compare each valid candidate with the program that it is nearest to.

    That is: how alike the two are, and how much better it is.
    """
    points = _gains(results, valid)
    wanted = {"the loop, first third": ("loop", False), "the loop, last third": ("loop", True)}
    if "random" in shown:
        wanted["random search, last third"] = ("random", True)

    # Of each point the gate of its own cycle decides; the line that is drawn is the first one's.
    new = pl.col("similarity") < pl.col("copy_at")
    better = pl.col("gain") > 0
    panels, shares, noisy = [], [], False
    for title, (role, last) in wanted.items():
        of_third = _third(of_chains(points, shown[role]), last)
        count = of_third.height
        if not count:
            continue
        both = of_third.filter(new, better).height
        share = percent(both / count, 0)
        shares.append(f"{share} {title}")
        says = f"{title}: of {count} valid programs {share} are newer than a copy and better"
        noise = _median(of_third["accuracy_sd"])
        noisy = noisy or bool(noise)
        gate = float(of_third["copy_at"][0])
        panels.append(draw_newer(title, of_third, gate, noise, says))

    finding = "No neighbours yet"
    if shares:
        finding = f"No copy, and better than what it is nearest to: {', '.join(shares)}"
    note = "The bar at the left edge is the judge's noise: gains within it are none."
    if not noisy:
        note = ""
    return Figure(finding, panels, note)


def _median(values: pl.Series) -> float | None:
    """Return the median of the values that are there; None where none is."""
    median: float | None = values.to_frame().select(pl.all().median()).item()
    return median


def _gains(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return the valid candidates: `similarity` to the nearest, `gain` in accuracy over it."""
    columns = {"nearest_id": "id", "dataset": "dataset", "before": "accuracy"}
    of_corpus = results.corpus.select(**columns)
    of_candidates = results.candidates.select(**columns)
    # A design is in both tables, with one score.
    scores = pl.concat([of_corpus, of_candidates]).unique(["nearest_id", "dataset"], keep="first")

    # What it repeats, where it repeats anything; what computes the same graph is as near as can be.
    if_repeated = pl.when(pl.col("repeat_of").is_not_null())
    nearest = if_repeated.then("repeat_of").otherwise("nearest_id")
    repeat_similarity = pl.col("repeat_similarity").fill_null(1.0)
    similarity = if_repeated.then(repeat_similarity).otherwise("nearest_similarity")
    with_nearest = valid.with_columns(nearest_id=nearest, similarity=similarity)

    return (
        with_nearest.join(scores, on=["nearest_id", "dataset"], how="left")
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
    if not last:
        cycles.reverse()
    third = max(1, round(len(cycles) / 3))
    wanted = cycles[-third:]
    return points.filter(pl.col("cycle").is_in(wanted))


def _effort(results: Results, shown: Groups, cycles: pl.DataFrame, valid: pl.DataFrame) -> Figure:
    """Follow the test accuracy of the best by validation so far, after every cycle."""
    tested = valid.drop_nulls("test_accuracy")

    lines: list[BestSoFar] = []
    ends = []
    for role, group in shown.items():
        label = called(role, group)
        single: list[BestSoFar] = []
        for name in group:
            of_run = cycles.filter(chain=name)
            single += best_so_far(role, label, of_run, tested)
        means = means_over_runs(single)
        if means:
            last = max(means, key=lambda line: line.cycle)
            ends.append(f"{label} {last.test:.1f} %")

        lines += [*means, *single]

    if not ends:
        return Figure("Nothing was found yet", [])

    dataset = _dataset(results, shown)
    seeds = measured_seed_programs(results, dataset).drop_nulls("test_accuracy")
    seed_best = None
    if seeds.height:
        seed_best = 100 * seeds["test_accuracy"][0]
    if seed_best:
        ends.append(f"the best seed program {seed_best:.1f} %")
    finding = f"Best that a run found, mean over runs, on the test set: {', '.join(ends)}"
    rows = table_of(BestSoFar, lines)
    panel = draw_effort("Best of a run so far, mean over runs", rows, seed_best, finding)
    return Figure(finding, [panel])


def _dataset(results: Results, shown: Groups) -> str:
    """Return the data set of the loop."""
    first = shown["loop"][0]
    return results.chains[first].dataset


def _sizes(results: Results, shown: Groups, valid: pl.DataFrame) -> Figure:
    """Compare the fronts of size and accuracy, chosen by validation, shown by test accuracy."""
    known = ["test_accuracy", "parameters"]
    admitted = valid.filter(outcome="admitted").drop_nulls(known)
    dataset = _dataset(results, shown)

    designs = {"loop": of_chains(admitted, shown["loop"])}
    names = {"loop": "the loop", "seed": "seed programs"}
    if "random" in shown:
        designs["random"] = of_chains(admitted, shown["random"])
        names["random"] = shown["random"][0]
    designs["seed"] = measured_seed_programs(results, dataset).drop_nulls(known)

    fronts, best = [], []
    for role, of_role in designs.items():
        on_front = _front(role, names[role], of_role)
        if on_front.height:
            fronts.append(on_front)
            small = on_front.filter(pl.col("parameters") < SMALL)
            score = percent(small["test"][-1]) if small.height else "none"
            best.append(f"{names[role]} {score}")

    if not fronts or designs["loop"].is_empty():
        return Figure("Nothing was admitted yet", [])

    of_dataset = admitted.filter(dataset=dataset)
    cloud = of_dataset.select("parameters", test="test_accuracy")
    finding = f"Best below {SMALL:,} parameters, on the test set: {', '.join(best)}"
    panel = draw_sizes("Size against accuracy", cloud, pl.concat(fronts), finding)
    return Figure(finding, [panel])


def _front(role: str, label: str, designs: pl.DataFrame) -> pl.DataFrame:
    """Return the front of some designs, the smallest first, as `draw_sizes` takes it."""
    columns = designs.select("id", "accuracy", "parameters", test="test_accuracy")
    on_front = columns.filter(front(columns)).sort("parameters")
    numbers: list[int | None] = [None] * on_front.height
    if role == "loop":
        numbers = _numbers(on_front.height)
    number = pl.Series("number", numbers, dtype=pl.Int64)
    return on_front.with_columns(number, role=pl.lit(role), label=pl.lit(label))


def _numbers(count: int) -> list[int | None]:
    """Return the numbers that designs of a front are marked with: of many, every few."""
    numbers: list[int | None] = [None] * count
    if not count:
        return numbers

    step = -(-count // MOST_NUMBERED)
    numbered = range(0, count, step)
    for number, index in enumerate(numbered, start=1):
        numbers[index] = number
    return numbers
