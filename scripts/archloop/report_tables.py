"""The tables of the report, one concept each. Shares and accuracies are from 0 to 1."""

import re
from collections.abc import Callable

import numpy as np
import polars as pl

from archloop.funnel import NOT_VALID, OUTCOMES, VALID
from archloop.report_input import Results
from archloop.shift import compare_samples, compare_shares, direction
from archloop.shingles import PERMUTATIONS
from archloop.summarize import rate

# What a valid candidate is: a copy of the seed corpus, a copy of an own design, or new, and then below the threshold
# of admission or at least at it.
KINDS = ("copy_seed", "copy_own", "new_below", "new_above")
SOURCES = ("seed", "own")
MOST_COMPARED = 300  # admitted designs of a cycle whose diversity is measured; of more, evenly spaced ones

TEXT, COUNT, SHARE = pl.String, pl.Int64, pl.Float64
RATE = {"count": COUNT, "of": COUNT, "share": SHARE, "low": SHARE, "high": SHARE}
CELL = {"chain": TEXT, "cycle": COUNT}


def cycles(results: Results) -> pl.DataFrame:
    """Return one row a cycle: every outcome of the funnel, rates with intervals, accuracies, tokens."""
    schema = CELL | {"dataset": TEXT, "candidates": COUNT, "threshold": SHARE} | dict.fromkeys(OUTCOMES, COUNT)
    rates = ("valid", "at_threshold", "near_copies", "yield")
    schema |= {f"{name}_{part}": kind for name in rates for part, kind in RATE.items()}
    schema |= {"accuracy_n": COUNT}
    schema |= {f"accuracy_{key}": SHARE for key in ("mean", "low", "high", "median", "best", "sd")}
    schema |= {
        "balanced_accuracy_mean": SHARE,
        "new_tokens": COUNT,
        "training_pairs": COUNT,
        "adapter_carried_on": pl.Boolean,
    }
    rows = []
    for summary in results.summaries:
        row = summary | summary["funnel"] | {"threshold": summary["at_threshold"]["threshold"]}
        for name in rates:
            row |= {f"{name}_{part}": summary[name][part] for part in RATE}
        row["balanced_accuracy_mean"] = summary["balanced_accuracy"]["mean"]
        rows.append(row | {f"accuracy_{key}": value for key, value in summary["accuracy"].items()})
    return frame(rows, schema)


def judged(results: Results) -> pl.DataFrame:
    """Return the valid candidates, each with its `kind` (KINDS), and the source of its nearest neighbour (SOURCES).

    A copy is what the gate of its cycle calls one, whether or not it scored enough to be asked; with gate `none`, what
    `both` would call one.
    """
    facts = [
        {"chain": summary["chain"], "cycle": summary["cycle"], "threshold": summary["at_threshold"]["threshold"]}
        | {"copy_at": (novelty := results.novelty(summary["chain"], summary["cycle"]))["threshold"]}
        | {"by_text": novelty["gate"] != "graph", "by_graph": novelty["gate"] != "text"}  # where nothing gates, both
        for summary in results.summaries
    ]
    kinds = CELL | {"threshold": SHARE, "copy_at": SHARE, "by_text": pl.Boolean, "by_graph": pl.Boolean}
    seeds = results.corpus.filter(chain="seed")["id"].implode()
    valid = results.candidates.filter(pl.col("outcome").is_in(VALID)).with_columns(pl.col("cycle").cast(COUNT))
    valid = valid.join(frame(facts, kinds), on=["chain", "cycle"], how="left", maintain_order="left")
    exact = pl.col("nearest_exact").fill_null(False) & (pl.col("nearest_similarity") >= pl.col("copy_at"))
    text = exact & pl.col("by_text")
    graph = pl.col("graph_match_id").is_not_null() & pl.col("by_graph")
    of_seed = (text & (pl.col("nearest_source") == "seed")) | (graph & pl.col("graph_match_id").is_in(seeds))
    kind = (
        pl.when(of_seed)
        .then(pl.lit("copy_seed"))
        .when(text | graph | pl.col("repeat_of").is_not_null())
        .then(pl.lit("copy_own"))
        .when(pl.col("score") >= pl.col("threshold"))
        .then(pl.lit("new_above"))
        .otherwise(pl.lit("new_below"))
    )
    source = pl.when(pl.col("nearest_source").is_null()).then(None)
    source = source.when(pl.col("nearest_source") == "seed").then(pl.lit("seed")).otherwise(pl.lit("own"))
    return valid.with_columns(kind=kind, source=source)


def originality(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return how many valid candidates of each cycle are of each kind, with the share and its Wilson interval."""
    rows = []
    for (chain, cycle), cell in _cells(results, valid):
        counts = dict(cell["kind"].value_counts().iter_rows())
        rows += [
            {"chain": chain, "cycle": cycle, "kind": kind} | rate(counts.get(kind, 0), cell.height) for kind in KINDS
        ]
    return frame(rows, CELL | {"kind": TEXT} | RATE)


def similarity(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return the Jaccard similarity to the nearest neighbour per cycle: quantiles, by the source of that neighbour."""
    schema = CELL | {"source": TEXT, "n": COUNT, "of": COUNT, "exact": COUNT, "mean": SHARE}
    quantiles = {"q10": 0.1, "q25": 0.25, "median": 0.5, "q75": 0.75, "q90": 0.9}
    rows = []
    for (chain, cycle), cell in _cells(results, valid):
        for source in ("all", *SOURCES):
            some = cell if source == "all" else cell.filter(source=source)
            values = some["nearest_similarity"].drop_nulls()
            row = {"chain": chain, "cycle": cycle, "source": source, "n": len(values), "of": cell.height}
            row |= {"exact": some["nearest_exact"].fill_null(False).sum(), "mean": values.mean()}
            rows.append(row | {name: values.quantile(q, "linear") for name, q in quantiles.items()})
    return frame(rows, schema | dict.fromkeys(quantiles, SHARE))


def shift(results: Results, valid: pl.DataFrame, resamples: int) -> pl.DataFrame:
    """Return the first cycle of each chain against its last: difference, interval, test, effect size, in words too.

    accuracy_once: a program that was generated several times was trained once, so its equal accuracies count as one.
    """
    schema = {"chain": TEXT, "measure": TEXT, "first_cycle": COUNT, "last_cycle": COUNT, "first_n": COUNT}
    schema |= {"last_n": COUNT, "first": SHARE, "last": SHARE, "difference": SHARE, "low": SHARE, "high": SHARE}
    schema |= {"direction": TEXT, "method": TEXT, "p_value": SHARE, "hodges_lehmann": SHARE, "cliffs_delta": SHARE}
    schema |= {"delta_low": SHARE, "delta_high": SHARE}
    rows = []
    for chain, facts in results.chains.items():
        if len(facts["cycles"]) < 2:
            continue
        ends = facts["cycles"][0], facts["cycles"][-1]
        cells = [valid.filter(chain=chain, cycle=cycle) for cycle in ends]
        totals = [results.candidates.filter(chain=chain, cycle=cycle).height for cycle in ends]
        head = {"chain": chain, "first_cycle": ends[0], "last_cycle": ends[1]}
        once = [cell.unique("evaluation", keep="first", maintain_order=True) for cell in cells]
        for measure, column, of in (
            ("accuracy", "accuracy", cells),
            ("accuracy_once", "accuracy", once),
            ("similarity", "nearest_similarity", cells),
        ):
            first, last = (cell[column].drop_nulls().to_list() for cell in of)
            found = compare_samples(first, last, resamples, results.settings.get("seed", 0))
            ns = {"first_n": len(first), "last_n": len(last), "method": "Mann-Whitney, Welch"}
            means = {"first": _mean(first), "last": _mean(last), "direction": direction(found["low"], found["high"])}
            rows.append(head | {"measure": measure} | ns | means | found)
        for measure, wanted, generated in _shares():
            counts = [(wanted(cell), total if generated else cell.height) for cell, total in zip(cells, totals)]
            found = compare_shares(*counts)
            row = head | {"measure": measure, "first_n": counts[0][1], "last_n": counts[1][1], "method": "Newcombe"}
            row |= {"first": _share(*counts[0]), "last": _share(*counts[1])}
            rows.append(row | {"direction": direction(found["low"], found["high"])} | found)
    return frame(rows, schema)


def _shares() -> list[tuple[str, Callable, bool]]:
    """The rates that are compared: name, count in a cycle's valid candidates, whether of all that were generated."""
    return [
        ("valid", lambda cell: cell.height, True),
        ("yield", lambda cell: cell.filter(outcome="admitted").height, True),
        ("at_threshold", lambda cell: cell.filter(pl.col("score") >= pl.col("threshold")).height, False),
        ("copies", lambda cell: cell.filter(pl.col("kind").str.starts_with("copy")).height, False),
        ("new_above", lambda cell: cell.filter(kind="new_above").height, False),
    ]


def diversity(results: Results) -> pl.DataFrame:
    """Return how unlike each other the admitted designs of each cycle are.

    mean_distance: mean over all pairs of 1 - Jaccard similarity (MinHash estimate). effective: Vendi score (Friedman
    and Dieng, 2023), the number of entirely unlike designs that would be as diverse: exp of the entropy of the
    eigenvalues of the similarity matrix over n. distinct_graphs: computed graphs that occur.
    """
    schema = CELL | {"admitted": COUNT, "distinct_graphs": COUNT, "mean_distance": SHARE, "effective": SHARE}
    rows = []
    for (chain, cycle), cell in _cells(results, results.corpus.with_columns(pl.col("cycle").cast(COUNT))):
        row = {"chain": chain, "cycle": cycle, "admitted": cell.height}
        rows.append(row | {"distinct_graphs": cell["graph_digest"].n_unique()} | _unlikeness(cell))
    return frame(rows, schema)


def _unlikeness(cell: pl.DataFrame) -> dict:
    if not cell.height:
        return {"mean_distance": None, "effective": None}
    rows = np.linspace(0, cell.height - 1, min(cell.height, MOST_COMPARED)).astype(int)
    hashes = np.frombuffer(b"".join(cell["signature"][rows.tolist()]), "<u4").reshape(-1, PERMUTATIONS)
    alike = np.array([(hashes == one).mean(axis=1) for one in hashes])
    n = len(alike)
    shares = np.clip(np.linalg.eigvalsh(alike / n), 1e-12, None)
    distance = float((n * n - alike.sum()) / (n * (n - 1))) if n > 1 else None
    return {"mean_distance": distance, "effective": float(np.exp(-(shares * np.log(shares)).sum()))}


def corpus(results: Results) -> pl.DataFrame:
    """Return how the corpus of each chain grows; cycle 0 is the seed corpus."""
    seed = results.corpus.filter(chain="seed").height
    rows = []
    for chain, facts in results.chains.items():
        total = seed
        rows.append({"chain": chain, "cycle": 0, "seed": seed, "admitted": 0, "total": total})
        for cycle in facts["cycles"]:
            admitted = results.corpus.filter(chain=chain, cycle=cycle).height
            total += admitted
            rows.append({"chain": chain, "cycle": cycle, "seed": seed, "admitted": admitted, "total": total})
    return frame(rows, CELL | {"seed": COUNT, "admitted": COUNT, "total": COUNT})


def architectures(results: Results) -> pl.DataFrame:
    """Return the admitted designs, best first within their chain.

    accuracy: on the validation split, which selects; accuracy_sd: over the judge's repeats with other seeds, where it
    was told to make some; balanced_accuracy: with every class counted alike; test_accuracy: on the test set, which
    nothing was chosen by.
    pareto: no other design of the chain is as small and as accurate.
    """
    schema = {"chain": TEXT, "rank": COUNT, "id": TEXT, "cycle": COUNT, "dataset": TEXT, "accuracy": SHARE}
    schema |= {"accuracy_sd": SHARE, "balanced_accuracy": SHARE, "test_accuracy": SHARE}
    schema |= {"parameters": COUNT, "multiply_adds": COUNT}
    schema |= {"pareto": pl.Boolean, "nearest_id": TEXT}
    schema |= {"nearest_similarity": SHARE, "nearest_exact": pl.Boolean, "nearest_source": TEXT, "hint": TEXT}
    schema |= {"graph_digest": TEXT, "prompt_id": TEXT, "adapter": TEXT, "seed": COUNT, "evaluation": TEXT}
    parts = []
    for chain in results.chains:
        admitted = results.candidates.filter(chain=chain, outcome="admitted")
        ranked = admitted.sort(["accuracy", "id"], descending=[True, False])
        ranked = ranked.with_columns(rank=pl.int_range(1, ranked.height + 1, dtype=COUNT), pareto=_front(ranked))
        parts.append(ranked.select(pl.col(name).cast(kind) for name, kind in schema.items()))
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _front(ranked: pl.DataFrame) -> pl.Series:
    """Mark the rows that are smaller than all that are as accurate."""
    smallest, front = None, set()
    order = ranked.sort(["accuracy", "parameters", "id"], descending=[True, False, False], nulls_last=True)
    for name, parameters in order.select("id", "parameters").iter_rows():
        if parameters is not None and (smallest is None or parameters < smallest):
            smallest = parameters
            front.add(name)
    return ranked["id"].is_in(front)


def failures(results: Results) -> pl.DataFrame:
    """Return why candidates were not valid: details with numbers and names taken out, counted, with an example each."""
    schema = {"chain": TEXT, "outcome": TEXT, "reason": TEXT, "count": COUNT, "first_cycle": COUNT}
    schema |= {"last_cycle": COUNT, "example_id": TEXT, "example_detail": TEXT}
    failed = results.candidates.filter(pl.col("outcome").is_in(NOT_VALID))
    failed = failed.with_columns(pl.col("detail").fill_null(""), order=pl.col("outcome").replace_strict(_PLACES))
    reasons = pl.Series("reason", [reason(detail) for detail in failed["detail"]], dtype=TEXT)
    grouped = failed.with_columns(reasons).group_by("chain", "order", "outcome", "reason", maintain_order=True)
    found = grouped.agg(
        pl.len().alias("count"),
        pl.col("cycle").min().alias("first_cycle"),
        pl.col("cycle").max().alias("last_cycle"),
        pl.col("id").last().alias("example_id"),
        pl.col("detail").last().alias("example_detail"),
    )
    found = found.sort(["chain", "count", "order", "reason"], descending=[False, True, False, False])
    return found.select(pl.col(name).cast(kind) for name, kind in schema.items())


_PLACES = {name: place for place, name in enumerate(OUTCOMES)}


def reason(detail: str) -> str:
    """Return a detail without what differs between programs: numbers and quoted names.

    >>> reason("line 12: no attribute 'conv7'")
    "line #: no attribute '…'"
    """
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'…'", detail)
    text = re.sub(r"\d+(\.\d+)?", "#", text)
    return text if len(text) <= 100 else text[:99] + "…"


def cost(results: Results) -> pl.DataFrame:
    """Return what each stage of each cycle took: seconds, of which on a GPU, tokens, evaluations and reused ones."""
    schema = CELL | {"stage": TEXT, "jobs": COUNT, "seconds": SHARE, "gpu_seconds": SHARE, "tokens": COUNT}
    schema |= {"evaluations": COUNT, "reused": COUNT, "isolation": TEXT, "device": TEXT}
    rows: dict[tuple, dict] = {}
    for run in results.runs:
        empty = dict.fromkeys(("jobs", "tokens", "evaluations", "reused"), 0) | {"seconds": 0.0, "gpu_seconds": 0.0}
        empty |= {"isolation": set(), "device": set()}
        row = rows.setdefault((run["chain"], run["cycle"], run["stage"]), empty)
        row["jobs"] += 1
        row["seconds"] += run.get("seconds") or 0
        row["gpu_seconds"] += (run.get("seconds") or 0) if run.get("device") not in (None, "cpu") else 0
        row["tokens"] += (run.get("new_tokens") or 0) + (run.get("prompt_tokens") or 0) + (run.get("tokens") or 0)
        row["evaluations"] += len(run.get("candidates") or ())
        row["reused"] += run.get("reused") or 0
        row["isolation"] |= {str(run["isolation"])} if run.get("isolation") else set()
        row["device"] |= {str(run["device"])} if run.get("device") else set()
    joined = []
    for (chain, cycle, stage), row in rows.items():
        texts = {name: ", ".join(sorted(row[name])) or None for name in ("isolation", "device")}
        joined.append(row | texts | {"chain": chain, "cycle": cycle, "stage": stage})
    return frame(joined, schema)


def frame(rows: list[dict], schema: dict) -> pl.DataFrame:
    """Return rows as a table of that schema; a key that a row lacks is null, others are left out."""
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def _cells(results: Results, table: pl.DataFrame):
    """Yield ((chain, cycle), rows) for every cycle that has a verdict, empty ones too."""
    parts = table.partition_by("chain", "cycle", as_dict=True)
    for chain, facts in results.chains.items():
        for cycle in facts["cycles"]:
            yield (chain, cycle), parts.get((chain, cycle), table.clear())


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(count: int, of: int) -> float | None:
    return count / of if of else None
