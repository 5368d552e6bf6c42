"""The tables of the report with one row a cycle, or a stage of one. Shares are from 0 to 1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

import numpy as np
import polars as pl

from archloop.novelty.signature_scheme import PERMUTATIONS
from archloop.outcomes import OUTCOMES
from archloop.report.job_records import JobRecord, seconds_of
from archloop.report.results import Results
from archloop.report.tables.per_candidate import FATES, KINDS, SOURCES
from archloop.report.tables.typed_tables import COUNT, FLAG, SHARE, TEXT, Schema, table_of

T = TypeVar("T")
# Admitted designs of a cycle whose diversity is measured; of more, evenly spaced ones.
MOST_COMPARED = 300
RATE: Schema = {
    "count": COUNT,
    "of": COUNT,
    "share": SHARE,
    "low": SHARE,
    "high": SHARE,
}
DISTRIBUTION: Schema = {
    "n": COUNT,
    "mean": SHARE,
    "low": SHARE,
    "high": SHARE,
    "median": SHARE,
    "best": SHARE,
    "sd": SHARE,
}
QUANTILES = {
    "q10": 0.1,
    "q25": 0.25,
    "median": 0.5,
    "q75": 0.75,
    "q90": 0.9,
}


def cycles(results: Results) -> pl.DataFrame:
    """Return one row a cycle: the funnel, rates with intervals, accuracies, tokens."""
    schema: Schema = {
        "chain": TEXT,
        "cycle": COUNT,
        "dataset": TEXT,
        "candidates": COUNT,
        "threshold": SHARE,
        **dict.fromkeys(OUTCOMES, COUNT),
        **_prefixed("valid", RATE, RATE),
        **_prefixed("at_threshold", RATE, RATE),
        **_prefixed("near_copies", RATE, RATE),
        **_prefixed("yield", RATE, RATE),
        **_prefixed("accuracy", DISTRIBUTION, DISTRIBUTION),
        "balanced_accuracy_mean": SHARE,
        "new_tokens": COUNT,
        "training_pairs": COUNT,
        "adapter_carried_on": FLAG,
    }

    rows = []
    for summary in results.summaries:
        row = {
            "chain": summary["chain"],
            "cycle": summary["cycle"],
            "dataset": summary["dataset"],
            "candidates": summary["candidates"],
            "threshold": summary["at_threshold"]["threshold"],
            **{outcome: summary["funnel"].get(outcome) for outcome in OUTCOMES},
            **_prefixed("valid", summary["valid"], RATE),
            **_prefixed("at_threshold", summary["at_threshold"], RATE),
            **_prefixed("near_copies", summary["near_copies"], RATE),
            **_prefixed("yield", summary["yield"], RATE),
            **_prefixed("accuracy", summary["accuracy"], DISTRIBUTION),
            "balanced_accuracy_mean": summary["balanced_accuracy"]["mean"],
            "new_tokens": summary["new_tokens"],
            "training_pairs": summary["training_pairs"],
            "adapter_carried_on": summary["adapter_carried_on"],
        }
        rows.append(row)

    return pl.DataFrame(rows, schema=schema)


def _prefixed(name: str, values: Mapping[str, T], parts: Iterable[str]) -> dict[str, T]:
    return {f"{name}_{part}": values[part] for part in parts}


def fates(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return how many candidates of each cycle have each of FATES, which add up to all.

    distinct: different programs among the valid, by their normalised text. test_n, test_sum: of the
    admitted, those whose accuracy on the test set is known, and its sum.
    """
    rows = []
    for summary in results.summaries:
        count = summary["valid"]["count"]
        row = {
            "chain": summary["chain"],
            "cycle": summary["cycle"],
            "candidates": summary["candidates"],
            "fails": summary["candidates"] - count,
            "valid": count,
            "admitted": summary["funnel"]["admitted"],
        }
        rows.append(row)

    numbers = ("cycle", "candidates", "fails", "valid", "admitted")
    schema: Schema = {"chain": TEXT, **dict.fromkeys(numbers, COUNT)}
    totals = pl.DataFrame(rows, schema=schema)

    of_kinds = []
    for kind in KINDS:
        is_of_kind = pl.col("kind") == kind
        of_kinds.append(is_of_kind.sum().alias(kind))

    # A program without a digest counts as like no other.
    program = pl.col("text_digest").fill_null(pl.col("id"))
    admitted = pl.col("outcome") == "admitted"
    on_test = pl.col("test_accuracy").filter(admitted)
    counted = valid.group_by("chain", "cycle").agg(
        *of_kinds,
        distinct=program.n_unique(),
        test_n=on_test.count(),
        test_sum=on_test.sum(),
    )

    counts = ["candidates", *FATES, "valid", "admitted", "distinct", "test_n"]
    return (
        totals.join(counted, on=["chain", "cycle"], how="left", maintain_order="left")
        .with_columns(pl.exclude("chain").fill_null(0))
        .select("chain", "cycle", pl.col(counts).cast(COUNT), "test_sum")
    )


def similarity(results: Results, valid: pl.DataFrame) -> pl.DataFrame:
    """Return the similarity to the nearest neighbour per cycle, by the source of that neighbour.

    It is the Jaccard similarity: n values out of `of` valid candidates, of which `exact` are no
    estimates, with their mean and quantiles.
    """
    rows = []
    for cell in results.cells():
        for source in ("all", *SOURCES):
            rows.append((*cell, source))

    schema: Schema = {"chain": TEXT, "cycle": COUNT, "source": TEXT}
    wanted = pl.DataFrame(rows, schema, orient="row")

    # Null where there was nothing to be near to: counts and means leave it out.
    value = pl.col("nearest_similarity")
    exact = pl.col("nearest_exact").fill_null(False)
    measures = [
        value.count().cast(COUNT).alias("n"),
        exact.sum().cast(COUNT).alias("exact"),
        value.mean().alias("mean"),
    ]
    for name, level in QUANTILES.items():
        quantile = value.quantile(level, "linear")
        measures.append(quantile.alias(name))

    keys = list(schema)
    of_all = valid.with_columns(source=pl.lit("all"))
    by_source = valid.drop_nulls("source")
    parts = [part.group_by(keys).agg(measures) for part in (of_all, by_source)]
    measured = pl.concat(parts)
    count = pl.len().cast(COUNT)
    totals = valid.group_by("chain", "cycle").agg(of=count)

    return (
        wanted.join(measured, on=keys, how="left", maintain_order="left")
        .join(totals, on=["chain", "cycle"], how="left", maintain_order="left")
        .with_columns(pl.col("n", "of", "exact").fill_null(0))
        .select(*keys, "n", "of", "exact", "mean", *QUANTILES)
    )


@dataclass(frozen=True)
class Diversity:
    """How unlike each other the admitted designs of a cycle are: a row of `diversity`."""

    chain: str
    cycle: int
    admitted: int
    distinct_graphs: int
    mean_distance: float | None
    effective: float | None


def diversity(results: Results) -> pl.DataFrame:
    """Return how unlike each other the admitted designs of each cycle are.

    mean_distance: mean over all pairs of 1 - Jaccard similarity (MinHash estimate). effective:
    Vendi score (Friedman and Dieng, 2023), the number of entirely unlike designs that would be as
    diverse: exp of the entropy of the eigenvalues of the similarity matrix over n. distinct_graphs:
    computed graphs that occur.
    """
    corpus = results.corpus.with_columns(pl.col("cycle").cast(COUNT))
    parts = corpus.partition_by("chain", "cycle", as_dict=True)

    rows = []
    for cell in results.cells():
        designs = parts.get(cell, corpus.clear())
        distance, effective = _unlikeness(designs["signature"])
        rows.append(
            Diversity(
                chain=cell.chain,
                cycle=cell.cycle,
                admitted=designs.height,
                distinct_graphs=designs["graph_digest"].n_unique(),
                mean_distance=distance,
                effective=effective,
            )
        )

    return table_of(Diversity, rows)


def _unlikeness(signatures: pl.Series) -> tuple[float | None, float | None]:
    """Return (mean distance, Vendi score); None of too few designs."""
    count = len(signatures)
    if count == 0:
        return None, None

    n = min(count, MOST_COMPARED)
    compared = np.linspace(0, count - 1, n).astype(int)
    joined = b"".join(signatures[compared.tolist()])
    hashes = np.frombuffer(joined, "<u4").reshape(-1, PERMUTATIONS)

    # Two signatures agree in each place with the probability that is the Jaccard similarity.
    # Row by row: all pairs at once would need n times the memory.
    rows = [(hashes == one).mean(axis=1) for one in hashes]
    alike = np.array(rows)

    # Rounding makes eigenvalues of 0 slightly negative, of which there is no logarithm.
    eigenvalues = np.linalg.eigvalsh(alike / n)
    shares = np.clip(eigenvalues, 1e-12, None)
    entropy = -(shares * np.log(shares)).sum()
    effective = float(np.exp(entropy))
    if n == 1:
        return None, effective

    # A design is like itself, so the diagonal adds nothing to what is unlike.
    unlike = n * n - alike.sum()
    pairs = n * (n - 1)
    return float(unlike / pairs), effective


@dataclass(frozen=True)
class Cost:
    """What the jobs of one stage of a cycle took: a row of `cost`."""

    chain: str
    cycle: int
    stage: str
    jobs: int
    seconds: float
    gpu_seconds: float
    tokens: int
    evaluations: int
    reused: int
    isolation: str | None
    device: str | None


def cost(results: Results) -> pl.DataFrame:
    """Return what each stage of a cycle took: seconds, of which on a GPU, tokens, evaluations."""
    by_stage = attrgetter("chain", "cycle", "stage")
    groups: dict[tuple[str, int, str], list[JobRecord]] = {}
    for job in results.jobs:
        groups.setdefault(by_stage(job), []).append(job)

    rows = []
    for (chain, cycle, stage), jobs in groups.items():
        rows.append(
            Cost(
                chain=chain,
                cycle=cycle,
                stage=stage,
                jobs=len(jobs),
                seconds=sum((job.seconds for job in jobs), 0.0),
                gpu_seconds=seconds_of(jobs, on_gpu=True),
                tokens=sum(job.tokens for job in jobs),
                evaluations=sum(job.evaluations for job in jobs),
                reused=sum(job.reused for job in jobs),
                isolation=_listed(job.isolation for job in jobs),
                device=_listed(job.device for job in jobs),
            )
        )

    return table_of(Cost, rows)


def _listed(values: Iterable[str | None]) -> str | None:
    """Return the different values, sorted, as one text."""
    different = {value for value in values if value}
    return ", ".join(sorted(different)) or None
