"""The tables of the report, one concept each. Shares and accuracies are from 0 to 1."""

import re

import numpy as np
import polars as pl

from archloop.novelty.minhash import PERMUTATIONS
from archloop.outcomes import NOT_VALID, OUTCOMES, VALID
from archloop.report.results import Results

# What a valid candidate is: new, and then at the threshold of admission or below it, or a copy of a program that was
# valid before it, of an own one or of the seed corpus.
KINDS = ("new_good", "new_below", "copy_own", "copy_seed")
# What becomes of a candidate: every one has one of these fates.
FATES = (*KINDS, "fails")
SOURCES = ("seed", "own")
MOST_COMPARED = (
    300  # admitted designs of a cycle whose diversity is measured; of more, evenly spaced ones
)

TEXT, COUNT, SHARE = pl.String, pl.Int64, pl.Float64
RATE = {"count": COUNT, "of": COUNT, "share": SHARE, "low": SHARE, "high": SHARE}
CELL = {"chain": TEXT, "cycle": COUNT}


def cycles(results: Results) -> pl.DataFrame:
    """Return one row a cycle: every outcome of the funnel, rates with intervals, accuracies, tokens."""
    schema = (
        CELL
        | {"dataset": TEXT, "candidates": COUNT, "threshold": SHARE}
        | dict.fromkeys(OUTCOMES, COUNT)
    )
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

    A copy is what the gate of its cycle would call one (with gate `none`, what `either` would), whatever it scored, of
    any program that was valid before it: of the seed corpus, of an earlier cycle, or better in its own. The gate
    itself compares with what was admitted alone, which leaves every repetition below the threshold unseen.
    """
    facts = [
        {
            "chain": summary["chain"],
            "cycle": summary["cycle"],
            "threshold": summary["at_threshold"]["threshold"],
        }
        | {"copy_at": (novelty := results.novelty(summary["chain"], summary["cycle"]))["threshold"]}
        | {
            "by_text": novelty["gate"] != "graph",
            "by_graph": novelty["gate"] != "text",
        }  # where nothing gates, both
        for summary in results.summaries
    ]
    kinds = CELL | {
        "threshold": SHARE,
        "copy_at": SHARE,
        "by_text": pl.Boolean,
        "by_graph": pl.Boolean,
    }
    seeds = results.corpus.filter(chain="seed")["id"].implode()
    valid = results.candidates.filter(pl.col("outcome").is_in(VALID)).with_columns(
        pl.col("cycle").cast(COUNT)
    )
    valid = valid.join(
        frame(facts, kinds), on=["chain", "cycle"], how="left", maintain_order="left"
    )
    exact = pl.col("nearest_exact").fill_null(False) & (
        pl.col("nearest_similarity") >= pl.col("copy_at")
    )
    text = exact & pl.col("by_text")
    graph = pl.col("graph_match_id").is_not_null() & pl.col("by_graph")
    of_seed = (text & (pl.col("nearest_source") == "seed")) | (
        graph & pl.col("graph_match_id").is_in(seeds)
    )
    of_seed = of_seed | pl.col("repeat_of").is_in(seeds).fill_null(False)
    kind = (
        pl.when(of_seed)
        .then(pl.lit("copy_seed"))
        .when(text | graph | pl.col("repeat_of").is_not_null())
        .then(pl.lit("copy_own"))
        .when(pl.col("score") >= pl.col("threshold"))
        .then(pl.lit("new_good"))
        .otherwise(pl.lit("new_below"))
    )
    source = pl.when(pl.col("nearest_source").is_null()).then(None)
    source = (
        source.when(pl.col("nearest_source") == "seed")
        .then(pl.lit("seed"))
        .otherwise(pl.lit("own"))
    )
    return valid.with_columns(kind=kind, source=source)


def fates(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return what became of the candidates of each cycle: how many have each of FATES, which add up to all.

    distinct: different programs among the valid, by their normalised text. test_n, test_sum: of the admitted, those
    whose accuracy on the test set is known, and its sum.
    """
    schema = CELL | dict.fromkeys(
        ("candidates", *FATES, "valid", "admitted", "distinct", "test_n"), COUNT
    )
    rows = {
        (summary["chain"], summary["cycle"]): {"chain": summary["chain"], "cycle": summary["cycle"]}
        | {"candidates": summary["candidates"], "valid": summary["valid"]["count"]}
        | {
            "fails": summary["candidates"] - summary["valid"]["count"],
            "admitted": summary["funnel"]["admitted"],
        }
        | dict.fromkeys((*KINDS, "distinct", "test_n"), 0)
        | {"test_sum": 0.0}
        for summary in results.summaries
    }
    admitted = pl.col("outcome") == "admitted"
    counted = valid.group_by("chain", "cycle", maintain_order=True).agg(
        *((pl.col("kind") == kind).sum().alias(kind) for kind in KINDS),
        pl.col("text_digest").fill_null(pl.col("id")).n_unique().alias("distinct"),
        pl.col("test_accuracy").filter(admitted).count().alias("test_n"),
        pl.col("test_accuracy").filter(admitted).sum().alias("test_sum"),
    )
    for row in counted.iter_rows(named=True):
        rows[row["chain"], row["cycle"]] |= row
    return frame(list(rows.values()), schema | {"test_sum": SHARE})


def similarity(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return the Jaccard similarity to the nearest neighbour per cycle: quantiles, by the source of that neighbour."""
    schema = CELL | {"source": TEXT, "n": COUNT, "of": COUNT, "exact": COUNT, "mean": SHARE}
    quantiles = {"q10": 0.1, "q25": 0.25, "median": 0.5, "q75": 0.75, "q90": 0.9}
    value, counted = pl.col("nearest_similarity"), valid.group_by("chain", "cycle").len()
    totals = {(chain, cycle): count for chain, cycle, count in counted.iter_rows()}
    wanted = [
        value.count().alias("n"),
        pl.col("nearest_exact").fill_null(False).sum().alias("exact"),
    ]
    wanted += [
        value.mean().alias("mean"),
        *(value.quantile(q, "linear").alias(name) for name, q in quantiles.items()),
    ]
    both = [valid.with_columns(source=pl.lit("all")), valid.drop_nulls("source")]
    found = {}
    for part in both:
        found |= {
            row[:3]: row
            for row in part.group_by("chain", "cycle", "source").agg(*wanted).iter_rows()
        }
    names = ("chain", "cycle", "source", "n", "exact", "mean", *quantiles)
    rows = []
    for chain, facts in results.chains.items():
        for cycle in facts["cycles"]:
            of = totals.get((chain, cycle), 0)
            for source in ("all", *SOURCES):
                row = found.get((chain, cycle, source), (chain, cycle, source, 0, 0))
                rows.append(dict(zip(names, row)) | {"of": of})
    return frame(rows, schema | dict.fromkeys(quantiles, SHARE))


def diversity(results: Results) -> pl.DataFrame:
    """Return how unlike each other the admitted designs of each cycle are.

    mean_distance: mean over all pairs of 1 - Jaccard similarity (MinHash estimate). effective: Vendi score (Friedman
    and Dieng, 2023), the number of entirely unlike designs that would be as diverse: exp of the entropy of the
    eigenvalues of the similarity matrix over n. distinct_graphs: computed graphs that occur.
    """
    schema = CELL | {
        "admitted": COUNT,
        "distinct_graphs": COUNT,
        "mean_distance": SHARE,
        "effective": SHARE,
    }
    rows = []
    for (chain, cycle), cell in _cells(
        results, results.corpus.with_columns(pl.col("cycle").cast(COUNT))
    ):
        row = {"chain": chain, "cycle": cycle, "admitted": cell.height}
        rows.append(row | {"distinct_graphs": cell["graph_digest"].n_unique()} | _unlikeness(cell))
    return frame(rows, schema)


def _unlikeness(cell: pl.DataFrame) -> dict:
    if not cell.height:
        return {"mean_distance": None, "effective": None}
    rows = np.linspace(0, cell.height - 1, min(cell.height, MOST_COMPARED)).astype(int)
    hashes = np.frombuffer(b"".join(cell["signature"][rows.tolist()]), "<u4").reshape(
        -1, PERMUTATIONS
    )
    alike = np.array([(hashes == one).mean(axis=1) for one in hashes])
    n = len(alike)
    shares = np.clip(np.linalg.eigvalsh(alike / n), 1e-12, None)
    distance = float((n * n - alike.sum()) / (n * (n - 1))) if n > 1 else None
    return {"mean_distance": distance, "effective": float(np.exp(-(shares * np.log(shares)).sum()))}


def architectures(results: Results) -> pl.DataFrame:
    """Return the admitted designs, best first within their chain.

    accuracy: on the validation split, which selects; accuracy_sd: over the judge's repeats with other seeds, where it
    was told to make some; balanced_accuracy: with every class counted alike; test_accuracy: on the test set, which
    nothing was chosen by.
    pareto: no other design of the chain is as small and as accurate.
    """
    schema = {
        "chain": TEXT,
        "rank": COUNT,
        "id": TEXT,
        "cycle": COUNT,
        "dataset": TEXT,
        "accuracy": SHARE,
    }
    schema |= {"accuracy_sd": SHARE, "balanced_accuracy": SHARE, "test_accuracy": SHARE}
    schema |= {"parameters": COUNT, "multiply_adds": COUNT}
    schema |= {"pareto": pl.Boolean, "nearest_id": TEXT}
    schema |= {
        "nearest_similarity": SHARE,
        "nearest_exact": pl.Boolean,
        "nearest_source": TEXT,
        "hint": TEXT,
    }
    schema |= {
        "graph_digest": TEXT,
        "prompt_id": TEXT,
        "adapter": TEXT,
        "seed": COUNT,
        "evaluation": TEXT,
    }
    parts = []
    for chain in results.chains:
        admitted = results.candidates.filter(chain=chain, outcome="admitted")
        ranked = admitted.sort(["accuracy", "id"], descending=[True, False])
        ranked = ranked.with_columns(
            rank=pl.int_range(1, ranked.height + 1, dtype=COUNT), pareto=front(ranked)
        )
        parts.append(ranked.select(pl.col(name).cast(kind) for name, kind in schema.items()))
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def front(ranked: pl.DataFrame) -> pl.Series:
    """Mark the rows that are smaller than all that are as accurate."""
    smallest, front = None, set()
    order = ranked.sort(
        ["accuracy", "parameters", "id"], descending=[True, False, False], nulls_last=True
    )
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
    failed = failed.with_columns(
        pl.col("detail").fill_null(""), order=pl.col("outcome").replace_strict(_PLACES)
    )
    reasons = pl.Series("reason", [reason(detail) for detail in failed["detail"]], dtype=TEXT)
    grouped = failed.with_columns(reasons).group_by(
        "chain", "order", "outcome", "reason", maintain_order=True
    )
    found = grouped.agg(
        pl.len().alias("count"),
        pl.col("cycle").min().alias("first_cycle"),
        pl.col("cycle").max().alias("last_cycle"),
        pl.col("id").last().alias("example_id"),
        pl.col("detail").last().alias("example_detail"),
    )
    found = found.sort(
        ["chain", "count", "order", "reason"], descending=[False, True, False, False]
    )
    return found.select(pl.col(name).cast(kind) for name, kind in schema.items())


_PLACES = {name: place for place, name in enumerate(OUTCOMES)}


def reason(detail: str) -> str:
    """Return a detail without what differs between programs: numbers and quoted names.

    >>> reason("line 12: Conv2d has no attribute 'conv7'")
    "line #: Conv2d has no attribute '…'"
    """
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'…'", detail)
    text = re.sub(r"(?<![A-Za-z_\d])\d+(\.\d+)?(x\d+)*", "#", text)
    return text if len(text) <= 100 else text[:99] + "…"


def cost(results: Results) -> pl.DataFrame:
    """Return what each stage of each cycle took: seconds, of which on a GPU, tokens, evaluations and reused ones."""
    schema = CELL | {
        "stage": TEXT,
        "jobs": COUNT,
        "seconds": SHARE,
        "gpu_seconds": SHARE,
        "tokens": COUNT,
    }
    schema |= {"evaluations": COUNT, "reused": COUNT, "isolation": TEXT, "device": TEXT}
    rows: dict[tuple, dict] = {}
    for run in results.runs:
        empty = dict.fromkeys(("jobs", "tokens", "evaluations", "reused"), 0) | {
            "seconds": 0.0,
            "gpu_seconds": 0.0,
        }
        empty |= {"isolation": set(), "device": set()}
        row = rows.setdefault((run["chain"], run["cycle"], run["stage"]), empty)
        row["jobs"] += 1
        row["seconds"] += run.get("seconds") or 0
        row["gpu_seconds"] += (
            (run.get("seconds") or 0) if run.get("device") not in (None, "cpu") else 0
        )
        row["tokens"] += (
            (run.get("new_tokens") or 0)
            + (run.get("prompt_tokens") or 0)
            + (run.get("tokens") or 0)
        )
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
