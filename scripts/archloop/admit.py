"""The verdict on every candidate of a cycle, and the shard of the corpus that it admits."""

import polars as pl

from archloop.corpus import CANDIDATES, CORPUS
from archloop.errors import InputError
from archloop.novelty import Index, Nearest, signature


def admit(
    candidates: list[dict], records: list[dict], corpus: pl.DataFrame, dataset: dict, admission: dict, novelty: dict
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (all candidates with their verdicts, the admitted ones as corpus rows), both in the order of the indices.

    candidates: rows of generated/*.jsonl. records: of evaluated/*.json. corpus: the seed corpus and earlier shards.
    dataset: facts with name and chance. Better candidates are judged first, ties by id, so of two twins the better one
    is admitted and the other is its near-copy.
    """
    verdicts = {row["id"]: row for row in join(candidates, records)}
    threshold = accuracy_threshold(admission, dataset["chance"])
    index = Index(novelty["threshold"], novelty["shingle_tokens"])
    sources = {}
    for row in corpus.iter_rows(named=True):
        index.add(row["id"], row["program"], row["signature"])
        sources[row["id"]] = "seed" if row["chain"] == "seed" else "earlier"
    trained = [row for row in verdicts.values() if row["outcome"] == "trained"]
    trained.sort(key=lambda row: (-row["accuracy"], row["id"]))
    admitted = 0
    for row in trained:
        found = index.nearest(row["program"])
        enough = row["accuracy"] >= threshold or (
            admission["fill_down_to"] is not None
            and row["accuracy"] >= admission["fill_down_to"]
            and admitted < admission["fill_minimum"]
        )
        copy = found.id is not None and found.exact and found.similarity >= novelty["threshold"]
        row["outcome"] = "below_threshold" if not enough else "near_copy" if copy else "admitted"
        row |= _describe(found, sources) | {"signature": signature(row["program"], novelty["shingle_tokens"])}
        if row["outcome"] == "admitted":
            admitted += 1
            index.add(row["id"], row["program"], row["signature"])
            sources[row["id"]] = "same_cycle"
    rows = sorted(verdicts.values(), key=lambda row: row["index"])
    whole = pl.DataFrame([_row(row, CANDIDATES, dataset["name"]) for row in rows], schema=CANDIDATES)
    return whole, whole.filter(pl.col("outcome") == "admitted").select(list(CORPUS))


def join(candidates: list[dict], records: list[dict]) -> list[dict]:
    """Return each candidate with its record; raise InputError unless they are the same, one to one."""
    by_id = {record["id"]: record for record in records}
    missing = [row["id"] for row in candidates if row["id"] not in by_id]
    if missing or len(records) != len(candidates) or len(by_id) != len(records):
        raise InputError(
            f"{len(candidates)} candidates but {len(records)} evaluations"
            + (f" ({missing[0]} has none)" if missing else "")
            + "; delete the evaluated files of this cycle and run again"
        )
    joined = []
    for row in candidates:
        record = by_id[row["id"]]
        graph = record["graph"] or {}
        facts = {key: record[key] for key in ("outcome", "detail", "parameters", "multiply_adds", "accuracy")}
        facts |= {"evaluation": record["key"], "graph_digest": graph.get("digest"), "graph_method": graph.get("method")}
        joined.append(row | facts)
    return joined


def accuracy_threshold(admission: dict, chance: float) -> float:
    """Return the accuracy (0 to 1) that admits; a relative threshold counts from chance (0) to perfect (1)."""
    share = admission["threshold"]
    return chance + share * (1 - chance) if admission["relative_to_chance"] else share


def _describe(found: Nearest, sources: dict[str, str]) -> dict:
    return {
        "nearest_id": found.id,
        "nearest_similarity": found.similarity if found.id else None,
        "nearest_exact": found.exact if found.id else None,
        "nearest_source": sources.get(found.id),
    }


def _row(row: dict, schema: dict, dataset: str) -> dict:
    return {name: row.get(name) for name in schema} | {"dataset": dataset}
