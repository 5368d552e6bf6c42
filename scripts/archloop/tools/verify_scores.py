"""Whether every stored score lies under its key, and is quoted as it is.

A key is a function of what the score is a function of.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

from archloop.evaluation.cache_key import protocol_digest, score_key
from archloop.evaluation.records import FIELDS
from archloop.evaluation.score_store import all_records
from archloop.files import has_keys, read_json, read_jsonl, sha256_text
from archloop.layout import STORED_SCORES
from archloop.settings.sections import Section
from archloop.tools.results_folder import ResultsFolder, first_output
from archloop.workflow.provenance import Provenance, locate

KEY = re.compile("[0-9a-f]{64}")


class Score(NamedTuple):
    """A score that an evaluation quotes: of which candidate, its key, a digest of what it says."""

    id: str
    key: str
    digest: str


class ScoreProtocol(TypedDict):
    """What the key of a score is made of, beside the program and the data.

    settings: section evaluation as it held.
    """

    seed: int
    device: str
    versions: dict[str, str]
    settings: Section


class StoredScore(NamedTuple):
    """A score of the store: a digest of what it says, and what its key is made of."""

    digest: str
    protocol: ScoreProtocol


@dataclass
class Store:
    """The store of scores, by their keys.

    protocols: data and protocol, as JSON -> the digest of both; each takes a while to compute.
    """

    scores: dict[str, StoredScore] = field(default_factory=dict)
    protocols: dict[str, str] = field(default_factory=dict)

    def key(self, program: str, data: str, protocol: ScoreProtocol) -> str:
        """Return the key of a program's score; data: sha256 of the data set."""
        text = json.dumps([data, protocol], sort_keys=True)
        if text not in self.protocols:
            self.protocols[text] = protocol_digest(dataset=data, **protocol)
        return score_key(self.protocols[text], program)


def check_scores(folder: ResultsFolder) -> None:
    """Check the store of scores, and the evaluations that quote it."""
    store = _read_store(folder)
    for path, provenance in folder.jobs.items():
        if provenance["script"] == "evaluate":
            folder.read(path, partial(_check_evaluation, folder, provenance, store))


def _read_store(folder: ResultsFolder) -> Store:
    store = Store()
    for path, key, read in all_records(folder.results / STORED_SCORES):
        folder.counts["scores"] += 1
        score = folder.read(path, partial(_stored, read))
        if score is None:
            continue
        store.scores[key] = score
        if not _belongs_there(key, path):
            folder.say("wrong", path, f"{key} is no key of a score there")

    return store


def _belongs_there(key: str, path: Path) -> bool:
    """Say whether this is a key, and of those that such a file, or folder, of the store holds."""
    prefix, _, _ = path.name.partition(".")
    return bool(KEY.fullmatch(key)) and key[:2] in (prefix, path.parent.name)


def _stored(read: Callable[[], object], path: Path) -> StoredScore:
    """Return what `read` gives of a score in a file of the store."""
    record = has_keys(read(), ("outcome", "protocol", "seed", "device", "versions"), path)
    protocol: ScoreProtocol = {
        "seed": record["seed"],
        "device": record["device"],
        "versions": record["versions"],
        "settings": record["protocol"],
    }

    return StoredScore(_digest(record), protocol)


def _check_evaluation(
    folder: ResultsFolder, provenance: Provenance, store: Store, path: Path
) -> None:
    """Check the scores that a job wrote; path: of its provenance."""
    shard = first_output(path)
    programs = _programs(folder, provenance)
    data = _data(provenance)
    code_is_the_same = provenance["code"] == folder.code("evaluate")
    for score in _scores(shard):
        stored = store.scores.get(score.key)
        if stored is None:
            continue
        if stored.digest != score.digest:
            what = f"the score of {score.id} is not that under its key, {score.key}"
            folder.say("wrong", shard, what)
            continue

        # Other code may make another key of the same.
        if not code_is_the_same or score.id not in programs:
            continue
        if store.key(programs[score.id], data, stored.protocol) != score.key:
            what = f"the score of {score.id} is kept under {score.key}, which is not its key"
            folder.say("wrong", shard, what)


def _programs(folder: ResultsFolder, provenance: Provenance) -> dict[str, str]:
    """Return id -> program of the candidates that a job judged."""
    (shard,) = [name for name in provenance["inputs"] if "/generated/" in name]
    rows = read_jsonl(locate(folder.results, shard), "id", "program")
    return {row["id"]: row["program"] for row in rows}


def _data(provenance: Provenance) -> str:
    """Return the sha256 of the data set that a job judged on."""
    inputs = provenance["inputs"]
    (name,) = [name for name in inputs if "/datasets/" in name]
    return str(inputs[name])


def _scores(path: Path) -> list[Score]:
    scores = []
    for record in read_json(path, "records")["records"]:
        scores.append(Score(str(record["id"]), str(record["key"]), _digest(record)))
    return scores


def _digest(record: Mapping[str, object]) -> str:
    """Return a digest of what a record says of a program."""
    fields = {name: record.get(name) for name in FIELDS}
    return sha256_text(json.dumps(fields, sort_keys=True))
