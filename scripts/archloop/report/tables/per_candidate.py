"""The tables of the report with one row a candidate, or a reason of candidates that failed."""

import math
import re
from dataclasses import dataclass

import polars as pl

from archloop.outcomes import NOT_VALID, OUTCOMES, VALID
from archloop.report.results import Results
from archloop.report.tables.typed_tables import COUNT, TEXT, Schema, best_first, schema_of, table_of
from archloop.settings.chains import SEED

# What a valid candidate is: new, and then at the threshold of admission or below it, or a copy of a
# program that was valid before it, of an own one or of the seed corpus.
KINDS = ("new_good", "new_below", "copy_own", "copy_seed")
# What becomes of a candidate: every one has one of these fates.
FATES = (*KINDS, "fails")
SOURCES = ("seed", "own")
LONGEST_REASON = 100


@dataclass(frozen=True)
class Architecture:
    """An admitted design: a row of `architectures`, which says what the columns are."""

    chain: str
    rank: int
    id: str
    cycle: int
    dataset: str
    accuracy: float
    accuracy_sd: float | None
    balanced_accuracy: float | None
    test_accuracy: float | None
    parameters: int | None
    multiply_adds: int | None
    pareto: bool
    nearest_id: str | None
    nearest_similarity: float | None
    nearest_exact: bool | None
    nearest_source: str | None
    hint: str | None
    graph_digest: str | None
    prompt_id: str | None
    adapter: str | None
    seed: int | None
    evaluation: str | None


@dataclass(frozen=True)
class FailureReason:
    """Why some candidates of a chain were not valid, with an example: a row of `failures`."""

    chain: str
    outcome: str
    reason: str
    count: int
    first_cycle: int
    last_cycle: int
    example_id: str
    example_detail: str | None


ARCHITECTURES = schema_of(Architecture)
FAILURES = schema_of(FailureReason)


@dataclass(frozen=True)
class Rule:
    """What the candidates of a cycle are judged by: the threshold of admission, a copy's rule."""

    chain: str
    cycle: int
    threshold: float
    copy_at: float
    by_text: bool
    by_graph: bool


def valid_candidates(results: Results) -> pl.DataFrame:
    """Return the valid candidates, each with its `kind` (KINDS).

    A copy is what the gate of its cycle would call one (with gate `none`, what `either` would),
    whatever it scored, of any program that was valid before it: of the seed corpus, of an earlier
    cycle, or better in its own. The gate itself compares with what was admitted alone, which leaves
    every repetition below the threshold unseen.
    `source` (SOURCES) is that of its nearest neighbour.
    """
    is_valid = pl.col("outcome").is_in(VALID)
    valid = (
        results.candidates.filter(is_valid)
        .with_columns(pl.col("cycle").cast(COUNT))
        .join(_rules(results), on=["chain", "cycle"], how="left", maintain_order="left")
    )

    return valid.with_columns(kind=_kind(results), source=_source())


def _kind(results: Results) -> pl.Expr:
    """Return the kind of each valid candidate."""
    # An estimate near the threshold may be wrong, so only exact similarities make a copy.
    exact = pl.col("nearest_exact").fill_null(False)
    similar = pl.col("nearest_similarity") >= pl.col("copy_at")
    text = exact & similar & pl.col("by_text")
    same_graph_as = pl.col("graph_match_id")
    graph = same_graph_as.is_not_null() & pl.col("by_graph")
    repeated = pl.col("repeat_of")

    nearest_is_seed = pl.col("nearest_source") == "seed"
    seeds = results.corpus.filter(chain=SEED)
    ids = seeds["id"].implode()
    of_seed = (
        (text & nearest_is_seed)
        | (graph & same_graph_as.is_in(ids))
        | repeated.is_in(ids).fill_null(False)
    )
    return (
        pl.when(of_seed)
        .then(pl.lit("copy_seed"))
        .when(text | graph | repeated.is_not_null())
        .then(pl.lit("copy_own"))
        .when(pl.col("score") >= pl.col("threshold"))
        .then(pl.lit("new_good"))
        .otherwise(pl.lit("new_below"))
    )


def _source() -> pl.Expr:
    """Return the source of each candidate's nearest neighbour."""
    nearest_source = pl.col("nearest_source")
    return (
        pl.when(nearest_source.is_null())
        .then(None)
        .when(nearest_source == "seed")
        .then(pl.lit("seed"))
        .otherwise(pl.lit("own"))
    )


def _rules(results: Results) -> pl.DataFrame:
    rows = []
    for summary in results.summaries:
        copy = results.copy_rule(summary["chain"], summary["cycle"])
        rows.append(
            Rule(
                chain=summary["chain"],
                cycle=summary["cycle"],
                threshold=summary["at_threshold"]["threshold"],
                copy_at=copy.threshold,
                by_text=copy.by_text,
                by_graph=copy.by_graph,
            )
        )

    return table_of(Rule, rows)


def architectures(results: Results) -> pl.DataFrame:
    """Return the admitted designs, best first within their chain.

    accuracy: on the validation split, which selects; accuracy_sd: over the judge's repeats with
    other seeds, where it makes some; balanced_accuracy: with every class counted alike;
    test_accuracy: on the test set, which nothing was chosen by. pareto: no other design of the
    chain is as small and as accurate.
    """
    parts = [pl.DataFrame(schema=ARCHITECTURES)]
    for chain in results.chains:
        admitted = results.candidates.filter(chain=chain, outcome="admitted")
        in_order = best_first(admitted)
        ranked = in_order.with_columns(
            rank=pl.int_range(1, in_order.height + 1, dtype=COUNT),
            pareto=front(in_order),
        )
        parts.append(_columns(ranked, ARCHITECTURES))

    return pl.concat(parts)


def front(designs: pl.DataFrame) -> pl.Series:
    """Mark the rows that are smaller than all that are as accurate."""
    in_order = designs.sort(
        ["accuracy", "parameters", "id"],
        descending=[True, False, False],
        nulls_last=True,
    )

    # From the most accurate down, whatever is smaller than all before it is on the front.
    smallest = math.inf
    marked = set()
    for name, parameters in in_order.select("id", "parameters").iter_rows():
        if parameters is not None and parameters < smallest:
            smallest = parameters
            marked.add(name)

    return designs["id"].is_in(marked)


def failure_reasons(results: Results) -> pl.DataFrame:
    """Return why candidates were not valid, counted, each reason with an example.

    A reason is a detail without numbers and names.
    """
    order = {outcome: index for index, outcome in enumerate(OUTCOMES)}
    is_not_valid = pl.col("outcome").is_in(NOT_VALID)
    failed = results.candidates.filter(is_not_valid).with_columns(
        pl.col("detail").fill_null(""),
        order=pl.col("outcome").replace_strict(order),
    )
    # Numbers and names differ from program to program; without them equal faults are one reason.
    texts = [reason(detail) for detail in failed["detail"]]
    reasons = pl.Series("reason", texts, dtype=TEXT)
    counted = (
        failed.with_columns(reasons)
        .group_by("chain", "order", "outcome", "reason", maintain_order=True)
        .agg(
            count=pl.len(),
            first_cycle=pl.col("cycle").min(),
            last_cycle=pl.col("cycle").max(),
            example_id=pl.col("id").last(),
            example_detail=pl.col("detail").last(),
        )
        .sort("chain", "count", "order", "reason", descending=[False, True, False, False])
    )

    return _columns(counted, FAILURES)


def reason(detail: str) -> str:
    """Return a detail without what differs between programs: numbers and quoted names.

    >>> reason("line 12: Conv2d has no attribute 'conv7'")
    "line #: Conv2d has no attribute '…'"
    """
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'…'", detail)
    text = re.sub(r"(?<![A-Za-z_\d])\d+(\.\d+)?(x\d+)*", "#", text)
    if len(text) <= LONGEST_REASON:
        return text
    return f"{text[: LONGEST_REASON - 1]}…"


def _columns(table: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    columns = [pl.col(name).cast(kind) for name, kind in schema.items()]
    return table.select(columns)
