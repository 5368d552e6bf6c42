"""The rows that travel from a candidate to the corpus: programs, evaluations, and both joined."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from archloop.errors import InputError
from archloop.files import has_keys, read_json, read_jsonl, write_json, write_jsonl
from archloop.layout import EVALUATED, STORED_SCORES, Cell
from archloop.novelty.tokens import text_digest

# What a candidate and its evaluation must have.
CANDIDATE_KEYS = ("id", "index", "program")
EVALUATION_KEYS = (
    "id",
    "key",
    "outcome",
    "detail",
    "parameters",
    "multiply_adds",
    "accuracy",
)
DIGEST = re.compile("[0-9a-f]{64}")


class Candidate(TypedDict):
    """A program to be judged: a row of generated/*.jsonl.

    Those that a language model wrote have its prompt and its answer, others the family or the
    design that they come from. stopped: why the answer ended. seed: what it was sampled with.
    hints, measured: of LEMUR's programs, what they could answer and LEMUR's own result.
    """

    id: str
    index: int
    program: str | None
    chain: NotRequired[str]
    cycle: NotRequired[int]
    shard: NotRequired[int]
    seed: NotRequired[int | None]
    new_tokens: NotRequired[int]
    prompt_tokens: NotRequired[int]
    family: NotRequired[str | None]
    hints: NotRequired[list[str]]
    measured: NotRequired[object]
    origin: NotRequired[str | None]
    prompt_id: NotRequired[str | None]
    prompt: NotRequired[str | None]
    references: NotRequired[list[str] | None]
    hint: NotRequired[str | None]
    adapter: NotRequired[str | None]
    raw: NotRequired[str | None]
    stopped: NotRequired[str | None]


class EvaluationRecord(TypedDict):
    """What is read of an evaluation: a record of evaluated/*.json.

    protocol: as JSON. graph: the fingerprint that the candidate's process sent, not to be trusted.
    """

    id: str
    key: str
    outcome: str
    detail: str | None
    parameters: int | None
    multiply_adds: int | None
    accuracy: float | None
    accuracy_sd: NotRequired[float | None]
    balanced_accuracy: NotRequired[float | None]
    test_accuracy: NotRequired[float | None]
    graph: NotRequired[object]
    protocol: NotRequired[str]


class CandidateRow(Candidate):
    """A candidate with what was measured of it and, once it is judged, its verdict.

    evaluation: the key of its score. graph_method: `trace`, or `text` where no graph was traced.
    The rest is admission's: see archloop.corpus.tables for the columns.
    """

    outcome: str
    detail: str | None
    parameters: int | None
    multiply_adds: int | None
    accuracy: float | None
    accuracy_sd: float | None
    balanced_accuracy: float | None
    test_accuracy: float | None
    evaluation: str
    protocol: str | None
    graph_digest: NotRequired[str]
    graph_method: NotRequired[str]
    dataset: NotRequired[str]
    score: NotRequired[float]
    signature: NotRequired[bytes]
    shingle_tokens: NotRequired[int]
    text_digest: NotRequired[str]
    nearest_id: NotRequired[str | None]
    nearest_similarity: NotRequired[float | None]
    nearest_exact: NotRequired[bool | None]
    nearest_source: NotRequired[str | None]
    graph_match_id: NotRequired[str | None]
    repeat_of: NotRequired[str | None]
    repeat_similarity: NotRequired[float | None]


def candidate_without_answer(cell: Cell, index: int, shard: int, program: str) -> Candidate:
    """Return a candidate that no language model wrote."""
    return {
        "id": cell.candidate_id(index),
        "chain": cell.chain,
        "cycle": cell.cycle,
        "index": index,
        "shard": shard,
        "new_tokens": 0,
        "prompt_tokens": 0,
        "program": program,
    }


def write_candidates_without_answer(
    candidates: list[Candidate], output: Path, run_record: Path, seconds: float
) -> None:
    """Write a shard of candidates that no language model wrote, and the record of its job."""
    record = {"device": None, "new_tokens": 0, "seconds": round(seconds, 2)}
    write_json(run_record, record)
    write_jsonl(output, candidates)


def read_candidates_of_shards(paths: Iterable[Path], *more: str) -> list[Candidate]:
    """Return the candidates of generated/*.jsonl; `more` are keys that each must have, too."""
    candidates: list[Candidate] = []
    for path in paths:
        candidates += cast(list[Candidate], read_jsonl(path, *CANDIDATE_KEYS, *more))
    return candidates


def read_evaluations(paths: Iterable[Path]) -> list[EvaluationRecord]:
    """Return the records of evaluated/*.json, each with the protocol that it was measured under."""
    evaluations: list[EvaluationRecord] = []
    for path in paths:
        shard = has_keys(read_json(path), ("records",), path)
        protocol = json.dumps(shard.get("protocol"), sort_keys=True)
        for record in shard["records"]:
            evaluation = cast(EvaluationRecord, has_keys(record, EVALUATION_KEYS, path))
            evaluations.append({**evaluation, "protocol": protocol})

    return evaluations


def join(candidates: list[Candidate], evaluations: list[EvaluationRecord]) -> list[CandidateRow]:
    """Return each candidate with its evaluation.

    Raises InputError unless they are of the same candidates, one to one.
    """
    by_id = {evaluation["id"]: evaluation for evaluation in evaluations}
    ids = [candidate["id"] for candidate in candidates]
    missing = [name for name in ids if name not in by_id]
    # Neither a candidate nor an evaluation twice, and none of another cycle.
    one_to_one = len(set(ids)) == len(candidates) == len(evaluations) == len(by_id)
    if missing or not one_to_one:
        example = f" ({missing[0]} has none)" if missing else ""
        of_this_cycle = candidates[0] if candidates else None
        raise InputError(
            f"{len(candidates)} candidates but {len(evaluations)} evaluations{example}"
            f"{remedy(of_this_cycle)}"
        )

    return [_joined(candidate, by_id[candidate["id"]]) for candidate in candidates]


def remedy(candidate: Candidate | None) -> str:
    """Return what to do where an evaluation fits no candidate of its cycle, such as this."""
    folder = f"the folder {EVALUATED}/ of this cycle"
    if candidate is not None and "chain" in candidate and "cycle" in candidate:
        cell = Cell(candidate["chain"], candidate["cycle"])
        folder = f"{cell.folder(Path('results'))}/{EVALUATED}/"
    kept = f"finished scores are kept in results/{STORED_SCORES}/"
    return f"; delete {folder} and start again: {kept}"


def _joined(candidate: Candidate, evaluation: EvaluationRecord) -> CandidateRow:
    measured = {
        "outcome": evaluation["outcome"],
        "detail": evaluation["detail"],
        "parameters": evaluation["parameters"],
        "multiply_adds": evaluation["multiply_adds"],
        "accuracy": evaluation["accuracy"],
        "accuracy_sd": evaluation.get("accuracy_sd"),
        "balanced_accuracy": evaluation.get("balanced_accuracy"),
        "test_accuracy": evaluation.get("test_accuracy"),
        "evaluation": evaluation["key"],
        "protocol": evaluation.get("protocol"),
    }
    row = cast(CandidateRow, {**candidate, **measured})
    if row["outcome"] != "trained":
        return row

    digest = _traced_digest(evaluation.get("graph"))
    if digest is not None:
        row["graph_method"], row["graph_digest"] = "trace", digest
    else:
        # A program that cannot be traced has the digest of its text in place of a graph's.
        row["graph_method"], row["graph_digest"] = "text", text_digest(program_of(row))
    return row


def program_of(row: Candidate) -> str:
    """Return the program of a candidate that was trained; raise InputError where it has none."""
    program = row["program"]
    if program is None:
        raise InputError(f"{row['id']}: trained, but without a program{remedy(row)}")
    return program


def _traced_digest(graph: object) -> str | None:
    """Return the digest that a candidate's process sent, None where it is none."""
    if not isinstance(graph, dict) or graph.get("method") != "trace":
        return None

    # Anything may stand there.
    digest = graph.get("digest")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        return None
    return digest
