"""The verdict on every candidate of a cycle, and the shard of the corpus that it admits."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import polars as pl

from archloop.corpus.tables import CANDIDATES, CORPUS
from archloop.errors import InputError
from archloop.files import has_keys, read_json
from archloop.novelty.minhash import PERMUTATIONS
from archloop.novelty.neighbours import (
    Nearest,
    Neighbours,
    is_copy,
    known_programs,
    nearest,
    neighbours,
    pick,
    with_signatures,
)
from archloop.novelty.repeats import COLUMNS, repeats
from archloop.novelty.tokens import text_digest

# What admission needs of the corpus: reading no more saves half of the memory.
KNOWN_COLUMNS = ("id", "chain", "program", "signature", "shingle_tokens", "graph_digest")
# What a candidate and its record must have.
ROW = ("id", "index", "program")
RECORD = ("id", "key", "outcome", "detail", "parameters", "multiply_adds", "accuracy")
NO_CANDIDATES = pl.DataFrame(schema={name: CANDIDATES[name] for name in COLUMNS})
DIGEST = re.compile("[0-9a-f]{64}")


def admit(
    candidates: list[dict],
    records: list[dict],
    corpus: pl.DataFrame,
    dataset: dict,
    admission: dict,
    novelty: dict,
    earlier: pl.DataFrame = NO_CANDIDATES,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (all candidates with their verdicts, the admitted ones as corpus rows), both in the order of the indices.

    candidates: rows of generated/*.jsonl. records: of evaluated/*.json. corpus: the seed corpus, earlier shards, and
    those of the chains whose adapter this one goes on from, at least KNOWN_COLUMNS. earlier: the candidates of earlier
    cycles (repeats.COLUMNS), which no verdict depends on. dataset: facts (name, classes, chance). Better candidates are
    judged first, ties by id, and join what the next ones are compared with, so of two twins the better is admitted and
    the other is its near-copy.
    """
    rows = join(candidates, records)
    trained = [row for row in rows if row["outcome"] == "trained"]
    for row in trained:
        row["score"] = row[admission["measure"]]
    trained.sort(key=lambda row: (-row["score"], row["id"]))
    enough = _scores_enough(admission, dataset)
    compared = _Compared(trained, corpus, novelty)
    admitted, known = [], []
    for place, row in enumerate(trained):
        found, twin = compared.nearest(place, admitted), compared.graph_match(place, admitted)
        known.append(
            {"nearest": compared.nearest(place, []), "twin": compared.graph_match(place, [])}
        )
        row |= {
            "text_digest": text_digest(row["program"]),
            "signature": compared.own.signatures[place],
            "shingle_tokens": novelty["shingle_tokens"],
            "nearest_id": found.id,
            "nearest_similarity": found.similarity if found.id else None,
            "nearest_exact": found.exact if found.id else None,
            "nearest_source": found.source,
            "graph_match_id": twin,
        }
        if not enough(row["score"], len(admitted)):
            row["outcome"] = "below_threshold"
        elif is_copy(found, twin, novelty):
            row["outcome"] = "near_copy"
        else:
            row["outcome"] = "admitted"
            admitted.append(place)
    found = repeats(compared.own, compared.digests, known, compared.to_own, earlier, novelty)
    for row, facts in zip(trained, found):
        row |= facts
    rows.sort(key=lambda row: (row["index"], row["id"]))
    for row in rows:
        row["dataset"] = dataset["name"]
    whole = pl.DataFrame(
        [{name: _storable(row.get(name)) for name in CANDIDATES} for row in rows], schema=CANDIDATES
    )
    return whole, whole.filter(pl.col("outcome") == "admitted").select(list(CORPUS))


def _storable(value: object) -> object:
    """Return a value as a table holds it: text that is no UTF-8 with escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


class _Compared:
    """The trained candidates of a cycle beside all that they are compared with: the corpus and each other."""

    def __init__(self, trained: list[dict], corpus: pl.DataFrame, novelty: dict):
        threshold, size = novelty["threshold"], novelty["shingle_tokens"]
        self.digests = [row["graph_digest"] for row in trained]
        self.own = with_signatures(
            [row["id"] for row in trained], [row["program"] for row in trained], size
        )
        self.known = known_programs(corpus, size)
        own = trained[0].get("chain", "main") if trained else "main"
        source = pl.when(chain="seed").then(pl.lit("seed")).when(chain=own).then(pl.lit("earlier"))
        self.sources = corpus.select(source.otherwise(pl.lit("inherited"))).to_series()
        self.to_known = neighbours(self.own, self.known, threshold, size)
        self.to_own = neighbours(self.own, self.own, threshold, size)
        hashes = np.frombuffer(b"".join(self.own.signatures.to_list()), "<u4").reshape(
            -1, PERMUTATIONS
        )
        self.estimates = np.array([(hashes == row).mean(axis=1) for row in hashes])
        earlier = corpus.filter(pl.col("graph_digest").is_in(set(self.digests))).sort("id")
        self.graphs = dict(reversed(list(earlier.select("graph_digest", "id").iter_rows())))

    def nearest(self, place: int, admitted: list[int]) -> Nearest:
        """Return the most similar of the corpus and of the better candidates that were admitted."""
        exact = {
            row: value for row, value in self.to_own[place].exact.items() if row in set(admitted)
        }
        best = min(
            admitted, key=lambda row: (-self.estimates[place][row], self.own.ids[row]), default=None
        )
        here = Neighbours(exact, best, float(self.estimates[place][best]) if admitted else 0.0)
        return pick(
            [
                nearest(self.to_known[place], self.known, self.sources),
                nearest(here, self.own, "same_cycle"),
            ]
        )

    def graph_match(self, place: int, admitted: list[int]) -> str | None:
        """Return the id of a known or admitted program that computes the same graph, None when there is none."""
        digest = self.digests[place]
        same = (self.own.ids[row] for row in admitted if self.digests[row] == digest)
        return self.graphs.get(digest) or next(same, None)


def read_records(paths: Iterable[Path]) -> list[dict]:
    """Return the records of evaluated/*.json, each with the protocol (as JSON) that it was measured under."""
    found = []
    for path in paths:
        shard = read_json(path, "records")
        protocol = json.dumps(shard.get("protocol"), sort_keys=True)
        found += [
            has_keys(record, RECORD, path) | {"protocol": protocol} for record in shard["records"]
        ]
    return found


def join(candidates: list[dict], records: list[dict]) -> list[dict]:
    """Return each candidate with its record; raise InputError unless they are the same, one to one."""
    by_id = {record["id"]: record for record in records}
    missing = [row["id"] for row in candidates if row["id"] not in by_id]
    counts = {len(candidates), len(records), len(by_id), len({row["id"] for row in candidates})}
    if missing or len(counts) > 1:
        raise InputError(
            f"{len(candidates)} candidates but {len(records)} evaluations"
            + (f" ({missing[0]} has none)" if missing else "")
            + "; delete the evaluated files of this cycle and run again"
        )
    joined = []
    for row in candidates:
        record = by_id[row["id"]]
        facts = {
            key: record[key]
            for key in ("outcome", "detail", "parameters", "multiply_adds", "accuracy")
        }
        facts |= {"evaluation": record["key"], "protocol": record.get("protocol")}
        facts |= {
            key: record.get(key) for key in ("accuracy_sd", "balanced_accuracy", "test_accuracy")
        }
        if record["outcome"] == "trained":
            facts |= _graph(row["program"], record.get("graph"))
        joined.append(row | facts)
    return joined


def accuracy_threshold(admission: dict, dataset: dict, share: float | None = None) -> float:
    """Return the score (0 to 1) by `measure` that admits; a relative threshold counts from chance (0) to perfect (1).

    dataset: facts with classes and chance. Whoever always answers one class scores chance by accuracy, and 1 / classes
    by balanced accuracy.
    """
    share = admission["threshold"] if share is None else share
    if not admission["relative_to_chance"]:
        return share
    chance = dataset["chance"] if admission["measure"] == "accuracy" else 1 / dataset["classes"]
    return chance + share * (1 - chance)


def _scores_enough(admission: dict, dataset: dict) -> Callable[[float, int], bool]:
    """Return a function of (score, number admitted so far): at the threshold, or while there is room to fill."""
    threshold = accuracy_threshold(admission, dataset)
    floor = admission["fill_accuracy"]
    floor = threshold if floor is None else accuracy_threshold(admission, dataset, floor)
    return lambda score, count: (
        score >= threshold or (score >= floor and count < admission["minimum_admitted"])
    )


def _graph(program: str, graph: object) -> dict:
    """Return the fingerprint that the candidate's process sent, or that of the text where it could not be traced."""
    digest = (
        graph.get("digest") if isinstance(graph, dict) and graph.get("method") == "trace" else None
    )
    if isinstance(digest, str) and DIGEST.fullmatch(digest):
        return {"graph_digest": digest, "graph_method": "trace"}
    return {"graph_digest": text_digest(program), "graph_method": "text"}
