"""Chains beside each other, and beside the paper: what differs in the settings always stands next to the numbers."""

import csv
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from archloop.chains import effective
from archloop.report_input import Results
from archloop.report_tables import COUNT, SHARE, TEXT, frame
from archloop.shift import compare_samples, compare_shares, spread

DATA = Path(__file__).parents[2] / "report"
SECTIONS = ("prompts", "generation", "evaluation", "admission", "novelty", "finetuning")
# Of which also chains have a use whose candidates no language model writes.
JUDGED = ("evaluation", "admission", "novelty")
# Into how many jobs the work of a cycle is cut, which changes none of its candidates.
SHARDS = "shards"
# What repeats of one chain differ in.
UNLIKE = ("cycles", "seed", "repeat_of")
MEASURES = ("valid", "yield", "at_threshold", "new_above", "accuracy")


def chains(results: Results, cycles: pl.DataFrame, kinds: pl.DataFrame, architectures: pl.DataFrame) -> pl.DataFrame:
    """Return one row a chain: how far it came, its rates over all cycles, its first, last and peak cycle.

    top and top_test: validation and test accuracy of the best admitted design; best: of any valid candidate. group:
    number of the chain's group of repeats. copy_from: similarity from which on a program is a copy.
    """
    schema = {"chain": TEXT, "dataset": TEXT, "start": TEXT, "source": TEXT, "planned": COUNT, "finished": COUNT}
    schema |= {"candidates": COUNT}
    schema |= {"valid": COUNT, "admitted": COUNT, "valid_share": SHARE, "yield_share": SHARE, "best": SHARE}
    schema |= {"top": SHARE, "top_test": SHARE}
    schema |= {f"{end}_{name}": SHARE for end in ("first", "last") for name in ("valid", "mean", "new_above", "yield")}
    schema |= {"peak_cycle": COUNT, "peak_mean": SHARE, "group": COUNT, "repeats": COUNT, "copy_from": SHARE}
    groups = {name: (at, len(group)) for at, group in enumerate(repeat_groups(results)) for name in group}
    rows = []
    for chain, facts in results.chains.items():
        own = cycles.filter(chain=chain)
        row = {"chain": chain, "dataset": facts["dataset"], "start": facts["start"], "planned": facts["planned"]}
        row |= {
            "source": facts["source"],
            "finished": own.height,
            "group": groups[chain][0],
            "repeats": groups[chain][1],
        }
        row |= dict(zip(("top", "top_test"), next(_tops(architectures, chain), (None, None))))
        row["copy_from"] = results.novelty(chain, 1)["threshold"]
        if own.height:
            totals = own.select(pl.col("candidates", "valid_count", "admitted").sum()).row(0)
            row |= dict(zip(("candidates", "valid", "admitted"), totals))
            if totals[0]:
                row |= {"valid_share": totals[1] / totals[0], "yield_share": totals[2] / totals[0]}
            row["best"] = own["accuracy_best"].max()
            for end, cycle in (("first", own["cycle"][0]), ("last", own["cycle"][-1])):
                line = own.row(by_predicate=pl.col("cycle") == cycle, named=True)
                new = kinds.filter(chain=chain, cycle=cycle, kind="new_above")["share"][0]
                row |= {f"{end}_valid": line["valid_share"], f"{end}_mean": line["accuracy_mean"]}
                row |= {f"{end}_yield": line["yield_share"], f"{end}_new_above": new}
            peak = own.drop_nulls("accuracy_mean").sort(["accuracy_mean", "cycle"], descending=[True, False]).head(1)
            row |= {"peak_cycle": peak["cycle"][0], "peak_mean": peak["accuracy_mean"][0]} if peak.height else {}
        rows.append(row)
    return frame(rows, schema)


def _tops(architectures: pl.DataFrame, chain: str) -> Iterator[tuple]:
    return architectures.filter(chain=chain, rank=1).select("accuracy", "test_accuracy").iter_rows()


def repeat_groups(results: Results) -> list[list[str]]:
    """Return the chains, those together that differ in nothing but their random numbers.

    Every random choice of a chain derives from its name too, so chains with equal settings are repeats over seeds. So
    are two that differ in which repeat of one chain they start from.
    """
    groups: dict[str, list[str]] = {}
    known = results.settings.get("chains", {})
    for name in results.chains:
        own = {key: value for key, value in known.get(name, {"name": name}).items() if key not in UNLIKE}
        own |= {"generation": {key: value for key, value in own.get("generation", {}).items() if key != SHARDS}}
        for key in ("start", "source"):
            other, slash, cycle = str(own.get(key)).partition("/")
            own[key] = known.get(other, {}).get("repeat_of", other) + slash + cycle
        groups.setdefault(json.dumps(own, sort_keys=True), []).append(name)
    return list(groups.values())


def with_noise(shift: pl.DataFrame, results: Results) -> pl.DataFrame:
    """Return the shifts with `repeats` and `noise_sd`: how much the difference itself varies over the repeats."""
    rows = []
    for group in repeat_groups(results):
        for measure in shift["measure"].unique(maintain_order=True):
            found = shift.filter(pl.col("chain").is_in(group), measure=measure)["difference"].drop_nulls().to_list()
            rows += [
                {"chain": name, "measure": measure, "repeats": len(group), "noise_sd": spread(found)} for name in group
            ]
    schema = {"chain": TEXT, "measure": TEXT, "repeats": COUNT, "noise_sd": SHARE}
    return shift.join(frame(rows, schema), on=["chain", "measure"], how="left", maintain_order="left")


def comparison(results: Results, cycles: pl.DataFrame, valid: pl.DataFrame, resamples: int) -> pl.DataFrame:
    """Return every group of repeats against the first on its data set, over the cycles that all of them finished.

    matched: both had the same number of candidates in these cycles. Values and intervals are over the candidates of all
    repeats together: Newcombe's, or Welch's for accuracy. noise_sd is the standard deviation of the measure over the
    repeats, pooled over both groups; null where nothing was repeated: then nobody knows how much of a difference is the
    seed's.
    """
    schema = {"dataset": TEXT, "chain": TEXT, "reference": TEXT, "differs": TEXT, "cycles": COUNT}
    schema |= {"candidates": COUNT, "reference_candidates": COUNT, "matched": pl.Boolean, "measure": TEXT}
    schema |= {"value": SHARE, "reference_value": SHARE, "difference": SHARE, "low": SHARE, "high": SHARE}
    schema |= {"repeats": COUNT, "reference_repeats": COUNT, "noise_sd": SHARE, "p_value": SHARE}
    groups = [group for group in repeat_groups(results) if all(results.chains[name]["cycles"] for name in group)]
    rows, first = [], {}
    for group in groups:
        dataset = results.chains[group[0]]["dataset"]
        reference = first.setdefault(dataset, group)
        common = set.intersection(*(set(results.chains[name]["cycles"]) for name in [*group, *reference]))
        if reference is group or not common:
            continue
        sides = [
            {name: _pooled(name, sorted(common), cycles, valid) for name in members} for members in (group, reference)
        ]
        totals = [sum(side["candidates"] for side in members.values()) for members in sides]
        head = {"dataset": dataset, "chain": ", ".join(group), "reference": ", ".join(reference), "cycles": len(common)}
        head |= {"differs": differing(results, group[0], reference[0]), "candidates": totals[0]}
        head |= {"reference_candidates": totals[1], "matched": totals[0] * len(reference) == totals[1] * len(group)}
        head |= {"repeats": len(group), "reference_repeats": len(reference)}
        seed = results.settings.get("seed", 0)
        rows += [head | {"measure": measure} | _compared(measure, *sides, resamples, seed) for measure in MEASURES]
    return frame(rows, schema)


def _pooled(chain: str, common: list[int], cycles: pl.DataFrame, valid: pl.DataFrame) -> dict:
    own = cycles.filter(pl.col("cycle").is_in(common), chain=chain)
    judged = valid.filter(pl.col("cycle").is_in(common), chain=chain)
    total = own["candidates"].sum()
    return {
        "candidates": total,
        "valid": (judged.height, total),
        "yield": (own["admitted"].sum(), total),
        "at_threshold": (own["at_threshold_count"].sum(), judged.height),
        "new_above": (judged.filter(kind="new_above").height, judged.height),
        "accuracy": judged["accuracy"].to_list(),
    }


def _compared(measure: str, group: dict, reference: dict, resamples: int, seed: int) -> dict:
    sides = [[members[name][measure] for name in members] for members in (group, reference)]
    if measure == "accuracy":
        values = [[float(np.mean(one)) for one in side if one] for side in sides]
        pooled = [[value for one in side for value in one] for side in sides]
        means = [float(np.mean(side)) if side else None for side in pooled]
        found = compare_samples(pooled[1], pooled[0], resamples, seed)
    else:
        values = [[count / of for count, of in side if of] for side in sides]
        pooled = [tuple(map(sum, zip(*side))) for side in sides]
        means = [count / of if of else None for count, of in pooled]
        found = compare_shares(pooled[1], pooled[0])
    spreads = [spread(side) for side in values]
    noise = None if None in spreads else (sum(value**2 for value in spreads) / 2) ** 0.5
    with warnings.catch_warnings():  # that one side's repeats are all alike is no reason to distrust the test
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_ind(*values, equal_var=False).pvalue if noise else None
    return {"value": means[0], "reference_value": means[1], "noise_sd": noise, "p_value": test} | {
        key: found[key] for key in ("difference", "low", "high")
    }


def differing(results: Results, chain: str, reference: str) -> str:
    """Return what two chains were set to that is not the same, as text; empty when nothing differs."""
    if not results.settings:
        return "unknown: the folder holds no settings"
    found = []
    own, other = (results.settings["chains"][name] for name in (chain, reference))
    written = own["source"] == other["source"] == "model"  # else one has no use for an adapter or for prompts
    found += [f"{key} {own[key]} (there {other[key]})" for key in ("start", "source") if own[key] != other[key]]
    found = found if written else [text for text in found if text.startswith("source")]
    for name in SECTIONS if written else JUDGED:
        ours, theirs = (effective(results.settings, name, one) for one in (chain, reference))
        keys = [key for key in ours if ours[key] != theirs[key] and key != SHARDS]
        if ours.get("train_on") == "nothing":  # then how it would train means nothing
            keys = [key for key in keys if key == "train_on"]
        found += [f"{name}.{key} {ours[key]} (there {theirs[key]})" for key in keys]
    if own.get("at") != other.get("at"):
        found.append("settings of single cycles")
    return "; ".join(found)


def paper(results: Results, cycles: pl.DataFrame) -> pl.DataFrame:
    """Return the published figures, each beside that of every chain; in per cent, but for `admitted`.

    Cycle `all`: the mean of the cycles' valid rates, the best, the mean over all valid candidates, all admitted.
    """
    schema = {"chain": TEXT, "cycle": TEXT, "measure": TEXT, "paper": SHARE, "paper_low": SHARE, "paper_high": SHARE}
    schema |= {"here": SHARE, "here_low": SHARE, "here_high": SHARE}
    rows = []
    for chain in results.chains:
        own = {str(row["cycle"]): row for row in cycles.filter(chain=chain).iter_rows(named=True)}
        for given in _read(DATA / "paper.csv"):
            published = {f"paper{end}": _number(given[key]) for end, key in (("", "value"), ("_low", "low"))}
            published["paper_high"] = _number(given["high"])
            if given["cycle"] == "all":
                here = _over_all(given["measure"], list(own.values()))
            else:
                here = _of_cycle(given["measure"], own.get(given["cycle"]))
            found = dict(zip(("here", "here_low", "here_high"), here))
            rows.append({"chain": chain, "cycle": given["cycle"], "measure": given["measure"]} | published | found)
    return frame(rows, schema)


def _of_cycle(measure: str, row: dict | None) -> tuple:
    if row is None:
        return None, None, None
    if measure == "admitted":
        return float(row["admitted"]), None, None
    if measure in ("valid", "at_threshold"):
        return tuple(_percent(row[f"{measure}_{part}"]) for part in ("share", "low", "high"))
    interval = ("low", "high") if measure == "mean" else (None, None)
    return tuple(_percent(row[f"accuracy_{part}"]) if part else None for part in (measure, *interval))


def _over_all(measure: str, rows: list[dict]) -> tuple:
    """Return (value, low, high) over all cycles.

    The interval of the valid rate is over cycles, as the paper's is; that of the mean over all valid candidates.
    """
    if not rows:
        return None, None, None
    if measure == "admitted":
        return float(sum(row["admitted"] for row in rows)), None, None
    if measure == "best":
        best = [row["accuracy_best"] for row in rows if row["accuracy_best"] is not None]
        return _percent(max(best, default=None)), None, None
    if measure == "valid":
        shares = [row["valid_share"] for row in rows if row["valid_share"] is not None]
        mean = float(np.mean(shares)) if shares else None
        if len(shares) < 2:
            return _percent(mean), None, None
        half = float(stats.t.ppf(0.975, len(shares) - 1) * np.std(shares, ddof=1) / len(shares) ** 0.5)
        return _percent(mean), _percent(max(0.0, mean - half)), _percent(min(1.0, mean + half))
    trained = [row for row in rows if row["accuracy_n"]]
    total = sum(row["accuracy_n"] for row in trained)
    if not total:
        return None, None, None
    mean = sum(row["accuracy_mean"] * row["accuracy_n"] for row in trained) / total
    if total < 2:
        return _percent(mean), None, None
    squares = sum((row["accuracy_n"] - 1) * (row["accuracy_sd"] or 0) ** 2 for row in trained)
    squares += sum(row["accuracy_n"] * (row["accuracy_mean"] - mean) ** 2 for row in trained)
    half = float(stats.t.ppf(0.975, total - 1) * (squares / (total - 1) / total) ** 0.5)
    return _percent(mean), _percent(max(0.0, mean - half)), _percent(min(1.0, mean + half))


def protocol(results: Results) -> pl.DataFrame:
    """Return what the paper did and what each chain does, item by item; `differs` is null where nothing is known."""
    schema = {"chain": TEXT, "item": TEXT, "paper": TEXT, "here": TEXT, "differs": pl.Boolean}
    rows = []
    for chain in results.chains:
        for given in _read(DATA / "protocol.csv"):
            row = {"chain": chain, "item": given["item"], "paper": given["paper"]}
            if not given["setting"]:
                row |= {"here": given["here"], "differs": True}
            elif results.settings:
                value = _setting(results, chain, given["setting"])
                row |= {"here": _plain(value), "differs": not _same(value, json.loads(given["same"]))}
            rows.append(row)
    return frame(rows, schema)


def _setting(results: Results, chain: str, place: str) -> object:
    if place == "dataset":
        return results.chains[chain]["dataset"]
    section, key = place.split(".")
    return (effective(results.settings, section, chain) if section in SECTIONS else results.settings[section])[key]


def _same(value: object, accepted: list) -> bool:
    """Say whether a value is one of those accepted; two numbers are the ends of a range."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and len(accepted) == 2 and not isinstance(accepted[0], list):
        return accepted[0] <= value <= accepted[1]
    return value in accepted


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(text: str) -> float | None:
    return float(text) if text else None


def _read(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))
