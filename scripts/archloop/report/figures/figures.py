"""What the five pictures show, from the tables, each with its finding as a title and a sentence for every panel."""

from dataclasses import dataclass

import polars as pl

from archloop.report.figures import panels as draw
from archloop.report.figures.panels import Panel
from archloop.report.figures.theme import FATES as FATE_COLORS
from archloop.report.groups import ROLES, called
from archloop.report.results import Results
from archloop.report.tables.per_cycle import FATES, front
from archloop.report.tables.run_means import Compared, against
from archloop.report.wording import per_100, percent, signed

FIRST_SCREEN = ("frozen", "fixed", "random")  # in whose order two stand beside the loop
FORESTS = {
    "new_good": ("New and good enough", "more per 100 generated"),
    "valid": ("Valid", "more per 100 generated"),
    "test": ("Test accuracy of the admitted", "points more on the mean"),
}


@dataclass(frozen=True)
class Picture:
    """A picture: its finding, its panels (none: nothing to draw yet), and what only some of them have to say."""

    finding: str
    panels: list[Panel]
    note: str = ""


def pictures(
    results: Results,
    found: Compared,
    tables: dict[str, pl.DataFrame],
    valid: pl.DataFrame,
    settings: dict,
) -> dict[str, Picture]:
    """Return the pictures by name (report_parts.FIGURES)."""
    shown = {"loop": found.loop} | found.controls
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
    own = results.corpus.filter(chain="seed", dataset=dataset).drop_nulls("accuracy")
    return own.sort(["accuracy", "id"], descending=[True, False])


def _fates(results: Results, shown: dict[str, list[str]], fates: pl.DataFrame) -> Picture:
    others = [role for role in FIRST_SCREEN if role in shown]
    others = [role for role in others if role != "fixed"] if len(others) > 2 else others
    panels, growth = [], {}
    names = [name for role in ("loop", *others) for name in shown[role]]
    last_cycle = max(max(results.chains[name]["cycles"], default=1) for name in names)
    for role in ("loop", *others):
        group = shown[role]
        own = fates.filter(pl.col("chain").is_in(group), pl.col("candidates") > 0)
        if not own.height:
            continue
        sums = own.group_by("cycle").agg(pl.col("candidates", *FATES).sum()).sort("cycle")
        shares = sums.select(
            "cycle", *((100 * pl.col(name) / pl.col("candidates")).alias(name) for name in FATES)
        )
        runs = own.select(
            "cycle", "chain", good=100 * pl.col("new_good") / pl.col("candidates")
        ).sort("chain", "cycle")
        third = max(1, round(sums.height / 3))
        ends = [
            per_100(shares["new_good"][part].mean())
            for part in (slice(0, third), slice(-third, None))
        ]
        growth[role] = ends
        last = shares[-third:].mean().row(0, named=True)
        says = f"{named(role, group)}. New and good enough: {ends[0]} of 100 in the first third of its cycles, "
        says += f"{ends[1]} in the last. There: " + ", ".join(
            f"{per_100(last[name])} {words}" for name, (_, words) in FATE_COLORS.items()
        )
        rows = shares.unpivot(list(FATES), index="cycle", variable_name="fate", value_name="share")
        title = f"{named(role, group)}: {ends[0]} new and good at first, mean of the last third {ends[1]}"
        panels.append(draw.fates(title, rows, runs, last_cycle, says))
    if "loop" not in growth:
        return Picture("Nothing was generated yet", [])
    finding = f"Of 100 programs of the loop, {growth['loop'][0]} are new and good enough at first, "
    finding += f"{growth['loop'][1]} in the last third"
    parts = [
        f"{ROLES[role][1]}: {growth[role][0]}, then {growth[role][1]}"
        for role in growth
        if role != "loop"
    ]
    return Picture("; ".join([finding, *parts]), panels)


def _contrasts(results: Results, found: Compared, fates: pl.DataFrame, settings: dict) -> Picture:
    panels, primary = [], settings["measure"]
    wanted = [primary, *(name for name in FORESTS if name != primary)]
    for measure in wanted:
        made = against(results, found, fates, settings, measure, found.controls)
        title, unit = FORESTS.get(measure, ("Admitted", "more per 100 generated"))
        rows = [
            (f"{found.controls[role][0]}: {ROLES[role][0]}", each)
            for role, (each, _) in made.items()
        ]
        says = "; ".join(
            f"{title}, the loop minus {name}: {draw.said(each)}" for name, each in rows
        )
        if rows:
            panels.append(draw.forest(title, rows, unit, says))
    first = next(iter(found.verdict.contrasts.items()), None)
    if first is None:
        return Picture("There is no control to compare the loop with", [])
    role, each = first
    side = "more" if each.difference >= 0 else "fewer"
    apart = (
        ""
        if each.told_apart
        else ", a difference that is not shown"
        if each.p
        else ", by too few runs to tell"
    )
    amount = signed(abs(each.difference)).lstrip("+")
    return Picture(f"The loop makes {amount} {side} per 100 than {ROLES[role][1]}{apart}", panels)


def _newer(results: Results, shown: dict[str, list[str]], valid: pl.DataFrame) -> Picture:
    """Compare each valid candidate with the program that it is nearest to: how alike, and how much better."""
    scores = pl.concat(
        [
            results.corpus.select("id", "dataset", "accuracy"),
            results.candidates.select("id", "dataset", "accuracy"),
        ]
    )
    scores = scores.unique(["id", "dataset"], keep="first").rename(
        {"id": "nearest_id", "accuracy": "before"}
    )
    # What it repeats, where it repeats anything; one that computes the same graph is as near as can be.
    repeated = pl.col("repeat_of").is_not_null()
    nearest = pl.when(repeated).then("repeat_of").otherwise("nearest_id")
    likeness = (
        pl.when(repeated)
        .then(pl.col("repeat_similarity").fill_null(1.0))
        .otherwise("nearest_similarity")
    )
    points = valid.with_columns(nearest_id=nearest, similarity=likeness)
    points = points.join(scores, on=["nearest_id", "dataset"], how="left").drop_nulls(
        ["before", "similarity"]
    )
    gain = pl.col("accuracy") - pl.col("before")
    points = points.select("chain", "cycle", "copy_at", "accuracy_sd", "similarity", gain=gain)
    wanted = {"the loop, first third": ("loop", False), "the loop, last third": ("loop", True)}
    wanted |= {"random search, last third": ("random", True)} if "random" in shown else {}
    panels, shares, noisy = [], [], False
    for title, (role, last) in wanted.items():
        own = points.filter(pl.col("chain").is_in(shown[role]))
        cycles = sorted(own["cycle"].unique())
        third = max(1, round(len(cycles) / 3))
        own = own.filter(pl.col("cycle").is_in(cycles[-third:] if last else cycles[:third]))
        if own.height:
            designed = (
                own.filter(pl.col("similarity") < pl.col("copy_at"), pl.col("gain") > 0).height
                / own.height
            )
            shares.append(f"{percent(designed, 0)} {title}")
            says = f"{title}: of {own.height} valid programs {percent(designed, 0)} are newer than a copy and better"
            gate = float(own["copy_at"][0])
            noise = own["accuracy_sd"].median()
            noisy = noisy or bool(noise)
            panels.append(draw.newer(title, own, gate, noise, says))
    finding = (
        f"No copy, and better than what it is nearest to: {', '.join(shares)}"
        if shares
        else "No neighbours yet"
    )
    note = (
        "The bar at the left edge is the judge's noise: gains within it are none." if noisy else ""
    )
    return Picture(finding, panels, note)


def _effort(
    results: Results, shown: dict[str, list[str]], cycles: pl.DataFrame, valid: pl.DataFrame
) -> Picture:
    """Follow the test accuracy of the best by validation so far, after every cycle."""
    lines = []
    for role, group in shown.items():
        single = []
        for name in group:
            best = (
                valid.filter(chain=name)
                .drop_nulls("test_accuracy")
                .sort(["cycle", "accuracy", "id"], descending=[False, True, False])
            )
            tops = {
                row["cycle"]: row
                for row in best.unique("cycle", keep="first").iter_rows(named=True)
            }
            programs, now = 0, None
            for cycle, count in (
                cycles.filter(chain=name).sort("cycle").select("cycle", "candidates").iter_rows()
            ):
                programs += count
                top = tops.get(cycle)
                now = top if top and (now is None or top["accuracy"] > now["accuracy"]) else now
                if now:
                    single.append(
                        {"role": role, "chain": name, "cycle": cycle, "programs": programs}
                        | {"test": 100 * now["test_accuracy"], "label": called(role, group)}
                    )
        begun = len({row["chain"] for row in single})
        for cycle in sorted({row["cycle"] for row in single}):
            own = [row for row in single if row["cycle"] == cycle]
            if len(own) == begun:  # no mean over fewer runs than before
                mean = {key: sum(row[key] for row in own) / begun for key in ("programs", "test")}
                lines.append(own[0] | mean | {"chain": None})
        lines += single
    schema = {"role": pl.String, "chain": pl.String, "cycle": pl.Int64, "programs": pl.Float64}
    rows = pl.DataFrame(lines, schema | {"test": pl.Float64, "label": pl.String})
    seeds = seed_programs(results, results.chains[shown["loop"][0]]["dataset"]).drop_nulls(
        "test_accuracy"
    )
    seed_best = 100 * seeds["test_accuracy"][0] if seeds.height else None
    means = rows.filter(pl.col("chain").is_null())
    ends = [
        f"{called(role, group)} {own['test'][-1]:.1f} %"
        for role, group in shown.items()
        if (own := means.filter(role=role).sort("programs")).height
    ]
    ends += [f"the best seed program {seed_best:.1f} %"] if seed_best else []
    finding = (
        f"Best that a run found, mean over runs, on the test set: {', '.join(ends)}"
        if means.height
        else "Nothing was found yet"
    )
    panels = (
        [draw.effort("Best of a run so far, mean over runs", rows, seed_best, finding)]
        if means.height
        else []
    )
    return Picture(finding, panels)


def _sizes(results: Results, shown: dict[str, list[str]], valid: pl.DataFrame) -> Picture:
    """Compare the fronts of size and accuracy: chosen by validation, shown by their test accuracy."""
    columns = ["id", "accuracy", "parameters", pl.col("test_accuracy").alias("test")]
    admitted = valid.filter(outcome="admitted").drop_nulls(["test_accuracy", "parameters"])
    dataset = results.chains[shown["loop"][0]]["dataset"]
    sets = {
        role: admitted.filter(pl.col("chain").is_in(shown[role])).select(columns)
        for role in ("loop", "random")
        if role in shown
    }
    seeds = (
        seed_programs(results, dataset).drop_nulls(["test_accuracy", "parameters"]).select(columns)
    )
    names = {
        "loop": "the loop",
        "random": shown.get("random", ["random"])[0],
        "seed": "seed programs",
    }
    parts, said = [], []
    for role, own in (sets | {"seed": seeds}).items():
        best = own.filter(front(own)).sort("parameters")
        if best.height:
            step = -(-best.height // draw.MOST_NUMBERED)
            numbers = [
                at // step + 1 if role == "loop" and at % step == 0 else None
                for at in range(best.height)
            ]
            number = pl.Series("number", numbers, dtype=pl.Int64)
            parts.append(best.with_columns(number, role=pl.lit(role), label=pl.lit(names[role])))
            under = best.filter(pl.col("parameters") < 100_000)
            said.append(
                f"{names[role]} {percent(under['test'][-1])}"
                if under.height
                else f"{names[role]} none"
            )
    if not parts or not sets["loop"].height:
        return Picture("Nothing was admitted yet", [])
    cloud = admitted.filter(pl.col("dataset") == dataset).select("parameters", test="test_accuracy")
    finding = f"Best below 100,000 parameters, on the test set: {', '.join(said)}"
    return Picture(finding, [draw.sizes("Size against accuracy", cloud, pl.concat(parts), finding)])
