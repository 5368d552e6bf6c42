"""What the page says beside its pictures, as plain rows: the best design, failures, cost, trust, the appendix."""

import re

import polars as pl

from archloop.errors import InputError
from archloop.files import read_json
from archloop.outcomes import NOT_VALID
from archloop.report.contrasts import window
from archloop.report.figures.figures import named, seed_programs
from archloop.report.figures.theme import FATES
from archloop.report.groups import ROLES, called, label
from archloop.report.page.cards import drawing
from archloop.report.results import Results, programs
from archloop.report.tables.paper import paper_rows
from archloop.report.tables.run_means import Compared
from archloop.report.verdict import MEASURES
from archloop.report.wording import GLOSSARY
from archloop.texts import visible

REASONS_SHOWN, EXAMPLE_LINES = 3, 60
SAYS = {
    "runs": "t over runs",
    "points": "too few runs: no interval",
    "cycles": "one run: blocks of its cycles",
}


def facts(results: Results, tables: dict[str, pl.DataFrame], found: Compared) -> dict:
    """Return what the template wants by name."""
    groups = {"loop": found.loop} | found.controls
    summed = {row["chain"]: row for row in tables["results"].to_dicts()}
    own = [summed[", ".join(group)] for group in found.groups if ", ".join(group) in summed]
    return {
        "verdict": found.verdict,
        "measured": MEASURES,
        "roles": ROLES,
        "fate_words": FATES,
        "words": GLOSSARY,
        "threshold": _threshold(tables["cycles"], found.loop),
        "tested": sum(each.p is not None for each in found.verdict.contrasts.values()),
        "elsewhere": _elsewhere(results, found.loop),
        "spent": _spent(tables["cost"]),
        "groups": {
            role: {"name": named(role, group), "label": called(role, group)}
            for role, group in groups.items()
        },
        "own": results.chains[found.loop[0]]
        | {"runs": len(found.loop), "label": label(found.loop)},
        "status": _status(results, found),
        "best": _best(results, tables, groups),
        "results": [row | {"label": label(row["chain"].split(", "))} for row in own],
        "contrasts": [row | {"how": SAYS[row["method"]]} for row in tables["contrasts"].to_dicts()],
        "trust": _trust(results, tables),
        "failures": _failures(results, tables, groups),
        "chains": _chains(tables, found),
        "paper": {"chain": found.loop[0], "rows": paper_rows(tables["paper"], found.loop[0])},
        "protocol": sorted(
            tables["protocol"].filter(chain=found.loop[0]).to_dicts(),
            key=lambda row: (row["differs"] is not True, row["item"]),
        ),
        "costs": _costs(tables["cost"], found),
        "versions": _versions(results),
    }


def _elsewhere(results: Results, loop: list[str]) -> list[str]:
    """Return the data sets that other chains are on."""
    own = results.chains[loop[0]]["dataset"]
    return [
        name
        for name in dict.fromkeys(facts["dataset"] for facts in results.chains.values())
        if name != own
    ]


def _status(results: Results, found: Compared) -> list[dict]:
    """Return how far each group is; empty when all have finished."""
    if results.finished:
        return []
    rows = []
    for group in found.groups:
        done = [len(results.chains[name]["cycles"]) for name in group]
        facts = {
            "label": label(group),
            "done": done,
            "planned": results.chains[group[0]]["planned"],
        }
        rows.append(facts | {"begun": any(done)})
    return rows


def _best(
    results: Results, tables: dict[str, pl.DataFrame], groups: dict[str, list[str]]
) -> dict | None:
    """Return the loop's best design by validation, with the test accuracy of the best of others, chosen alike."""
    designs = tables["architectures"]
    tops = {}
    for role, group in groups.items():
        own = designs.filter(pl.col("chain").is_in(group)).sort(
            ["accuracy", "id"], descending=[True, False]
        )
        if own.height:
            generated = tables["fates"].filter(pl.col("chain").is_in(group))["candidates"].sum()
            tops[role] = own.row(0, named=True) | {"of": generated, "called": called(role, group)}
    if "loop" not in tops:
        return None
    seeds = seed_programs(results, tops["loop"]["dataset"])
    images = _test_images(results, tops["loop"]["dataset"])
    share = tops["loop"]["test_accuracy"]
    error = 1.96 * (share * (1 - share) / images) ** 0.5 if images and share is not None else None
    others = {
        called(role, groups[role]): tops[role]["test_accuracy"]
        for role in ("random", "frozen", "fixed")
        if role in tops
    }
    others |= {"the best seed program": seeds["test_accuracy"][0]} if seeds.height else {}
    known = {
        name: score for name, score in others.items() if score is not None and share is not None
    }
    picture = (results.graphs.get(tops["loop"]["id"]) or {}).get("blocks")
    return tops["loop"] | {
        "more": {name: score for name, score in known.items() if score > share},
        "less": {name: score for name, score in known.items() if score <= share},
        # A control's best is called better where chance among the images of the test set alone would not make it so.
        "better": [name for name, score in known.items() if score - share > 2**0.5 * (error or 0)],
        "images": images,
        "error": error,
        "drawing": drawing(picture) if picture else None,
        "made_of": _made_of(picture) if picture else "",
    }


def _test_images(results: Results, dataset: str) -> int | None:
    """Return how many images the test set has, as the check before the run counted them; None where none is kept."""
    try:
        checks = read_json(results.folder / "preflight.json", "checks")["checks"]
        texts = [str(check.get("what")) for check in checks if check.get("name") == "data"]
    except (InputError, AttributeError, TypeError):
        return None
    found = [
        re.search(r"([\d,]+) test images", text)
        for text in texts
        if text.startswith(f"{dataset}: ")
    ]
    return int(found[0][1].replace(",", "")) if found and found[0] else None


def _threshold(cycles: pl.DataFrame, loop: list[str]) -> float | None:
    """Return the threshold of admission that the loop's last cycle was judged by."""
    own = cycles.filter(pl.col("chain").is_in(loop)).sort("cycle")
    return own["threshold"][-1] if own.height else None


def _spent(cost: pl.DataFrame) -> dict:
    """Return the seconds of all jobs of all chains and of cycle 0, on GPUs or else in all, in all and by stage."""
    column = "gpu_seconds" if cost["gpu_seconds"].sum() else "seconds"
    stages = {
        name: cost.filter(stage=name)[column].sum() for name in ("generate", "evaluate", "finetune")
    }
    return {
        "all": sum(stages.values()),
        "on": "GPU" if column == "gpu_seconds" else "processor",
        **stages,
    }


def _made_of(picture: list[list]) -> str:
    words = [text.split(" · ")[0] for text, *_ in picture if text != "image"]
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return ", ".join(
        word if count == 1 else f"{word} ({count} times)" for word, count in counts.items()
    )


def _trust(results: Results, tables: dict[str, pl.DataFrame]) -> dict:
    done = [name for name, each in results.chains.items() if len(each["cycles"]) >= each["planned"]]
    levels = sorted({str(run["isolation"]) for run in results.runs if run.get("isolation")})
    return {
        "whole": len(done),
        "chains": len(results.chains),
        "levels": levels,
        "candidates": tables["fates"]["candidates"].sum(),
        "verified": results.verified,
    }


def _failures(
    results: Results, tables: dict[str, pl.DataFrame], groups: dict[str, list[str]]
) -> dict:
    """Return what fails where, of 100 generated in the last third of the cycles, and the most frequent reasons."""
    shares, totals = {}, {}
    for role, group in groups.items():
        own = tables["cycles"].filter(pl.col("chain").is_in(group))
        last = own.filter(pl.col("cycle").is_in(window(own["cycle"].unique().to_list(), 1 / 3)))
        totals[role] = last["candidates"].sum()
        if totals[role]:
            shares[role] = {name: 100 * last[name].sum() / totals[role] for name in NOT_VALID}
    shown = [name for name in NOT_VALID if any(each[name] for each in shares.values())]
    largest = max((each[name] for each in shares.values() for name in shown), default=1.0)
    reasons = {
        role: _reasons(tables["failures"], group)
        for role, group in groups.items()
        if role in ("loop", "frozen")
    }
    texts = programs(results, {row["example_id"] for rows in reasons.values() for row in rows})
    for row in (row for rows in reasons.values() for row in rows):
        row["program"] = _cut(texts.get(row["example_id"]) or "")
    return {
        "checks": shown,
        "shares": shares,
        "largest": largest,
        "reasons": reasons,
        "finding": _worst(shares, shown),
    }


def _worst(shares: dict[str, dict], shown: list[str]) -> str:
    if "loop" not in shares or not shown:
        return "Nothing failed"
    own = shares["loop"]
    name = max(shown, key=lambda each: own[each])
    return f"Most often the loop fails at {name.replace('_', ' ')}: {own[name]:.0f} of 100 in the last third"


def _reasons(failures: pl.DataFrame, group: list[str]) -> list[dict]:
    """Return the most frequent reasons of a group's runs taken together, each with an example."""
    own = failures.filter(pl.col("chain").is_in(group))
    total = own["count"].sum()
    grouped = own.group_by("outcome", "reason", maintain_order=True).agg(
        pl.col("count").sum(), pl.col("example_id", "example_detail").first()
    )
    grouped = grouped.sort(["count", "outcome", "reason"], descending=[True, False, False]).head(
        REASONS_SHOWN
    )
    return [row | {"of": total} for row in grouped.to_dicts()]


def _cut(program: str) -> str:
    lines = visible(program).splitlines()
    more = [f"... {len(lines) - EXAMPLE_LINES} more lines"] if len(lines) > EXAMPLE_LINES else []
    return "\n".join([*lines[:EXAMPLE_LINES], *more])


def _chains(tables: dict[str, pl.DataFrame], found: Compared) -> list[dict]:
    """Return every chain with its cycles, in the order of the groups."""
    columns = ("cycle", "candidates", "new_good", "valid", "admitted", "distinct")
    cycles = tables["fates"].join(
        tables["cycles"].select("chain", "cycle", "accuracy_mean", "accuracy_best"),
        on=["chain", "cycle"],
        how="left",
    )
    parts = cycles.partition_by("chain", as_dict=True)
    rows = []
    for row in tables["chains"].to_dicts():
        own = parts.get((row["chain"],))
        lines = (
            []
            if own is None
            else own.select(*columns, "accuracy_mean", "accuracy_best").sort("cycle").to_dicts()
        )
        rows.append(row | {"cycles": lines})
    return rows


def _costs(cost: pl.DataFrame, found: Compared) -> list[dict]:
    """Return the totals of each group, and of cycle 0, by stage."""
    summed = ("jobs", "seconds", "gpu_seconds", "tokens", "evaluations", "reused")
    rows = []
    for name, group in [("cycle 0", ["seed"]), *((label(group), group) for group in found.groups)]:
        own = cost.filter(pl.col("chain").is_in(group)).group_by("stage", maintain_order=True)
        rows += [{"label": name} | row for row in own.agg(pl.col(summed).sum()).to_dicts()]
    return rows


def _versions(results: Results) -> list[tuple[str, str]]:
    """Return (name, version) of what the jobs said they ran with; two versions of one thing give two rows."""
    found = set()
    for run in results.runs:
        versions = run.get("versions")
        found |= (
            {(str(name), str(value)) for name, value in versions.items()}
            if isinstance(versions, dict)
            else set()
        )
    return sorted(found)
