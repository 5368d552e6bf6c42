"""What a candidate's process says, made into a record: every value of its type, and the score from
the labels.

Nothing that comes from there is believed: a program can lie about itself, but it breaks no record
and makes no score.
"""

import json
import re
import signal
import statistics
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import numpy as np

from archloop.evaluation.records import Epoch, Record, unjudged
from archloop.novelty.graph_record import MAXIMUM_NODES, GraphRecord, NodeRecord
from archloop.sandbox.orders import SupervisorReport
from archloop.settings.sections import Evaluation

NONCE_BYTES, LENGTH_BYTES = 16, 4
PREAMBLE_BYTES = NONCE_BYTES + LENGTH_BYTES
MAXIMUM_HEADER = 2**20
MAXIMUM_TEXT = 2**19  # of what all repeats of a candidate print
NO_RESULT = "the process ended"
MAXIMUM_WHOLE = 2**62  # a number that a table of 64 bits holds
MAXIMUM_DEPTH = 20  # of lists in the nodes of a graph
MAXIMUM_EPOCHS, MAXIMUM_LOSSES, MAXIMUM_STAGES = 10_000, 1000, 10
DIGEST = re.compile("[0-9a-f]{64}")
# What a candidate's process sends: any JSON, of which nothing is known yet.
Untrusted = Mapping[str, Any]
# Split -> the class of each of its images.
Labels = Mapping[str, np.ndarray]
# What a candidate's process may say of itself.
OUTCOMES = (
    "trained",
    "construct",
    "forward",
    "contract",
    "over_budget",
    "out_of_memory",
    "crashed",
    "diverged",
)
# A candidate can send no signal, so nobody but the kernel, short of memory, ends it by one of
# these.
OUT_OF_MEMORY = (-signal.SIGKILL, -signal.SIGBUS)
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def read_result(report: SupervisorReport, result: bytes, nonce: bytes) -> tuple[Record, bytes]:
    """Return what the supervisor saw and the candidate said as (a record, predictions that are not
    yet scored).

    result: the nonce, the length of a JSON header in four bytes, the header, the predictions.
    """
    if report.ended:
        return _without_result(*report.ended), b""

    length = int.from_bytes(result[NONCE_BYTES:PREAMBLE_BYTES], "little")
    end = PREAMBLE_BYTES + length
    has_length = 0 < length <= MAXIMUM_HEADER and len(result) >= end
    whole = result.startswith(nonce) and has_length
    if not whole and result:
        return _without_result("crashed", "its result is not that of the judge"), b""
    if not whole:
        return _died(report.status), b""

    try:
        record = _checked(json.loads(result[PREAMBLE_BYTES:end]))
    except UNREADABLE:
        return _without_result("crashed", "the facts in its result cannot be read"), b""
    return record, result[end:]


def _without_result(outcome: str, detail: str) -> Record:
    record = unjudged(outcome, detail)
    record["epochs"], record["losses"] = [], []
    return record


def _died(status: int) -> Record:
    """Return the record of a process that ended without a result.

    status: its exit code, or minus a signal.
    """
    how = f"status {status}"
    if status < 0:
        how = f"signal {-status}"
    outcome = "crashed"
    if status in OUT_OF_MEMORY:
        outcome = "out_of_memory"
    return _without_result(outcome, f"{NO_RESULT} with {how} and no result")


def _checked(header: Untrusted) -> Record:
    """Return what the candidate's process says of it as a record, every value of the type that it
    must have.

    Raises one of UNREADABLE otherwise: a program can lie about itself, but break no record.
    """
    outcome = header["outcome"]
    if outcome not in OUTCOMES:
        raise ValueError(outcome)

    stages = list(header["seconds"].items())
    seconds = {}
    for stage, value in stages[:MAXIMUM_STAGES]:
        seconds[plain_line(stage, 20)] = _number(value)
    # Cut, so that no program makes a record of any size.
    epochs = header["epochs"][:MAXIMUM_EPOCHS]
    losses = header["losses"][:MAXIMUM_LOSSES]

    record = _without_result(outcome, plain_line(header["detail"]))
    record["parameters"] = _whole_or_none(header["parameters"])
    record["multiply_adds"] = _whole_or_none(header["multiply_adds"])
    if header["graph"] is not None:
        record["graph"] = _graph(header["graph"])
    record["epochs"] = [_epoch(epoch) for epoch in epochs]
    record["losses"] = [_number(loss) for loss in losses]
    record["format"] = plain_line(header.get("format", ""), 40)
    record["seconds"] = seconds
    return record


def _epoch(epoch: Untrusted) -> Epoch:
    return {
        "repeat": _whole(epoch["repeat"]),
        "loss": _number_or_none(epoch["loss"]),
        "train_accuracy": _number_or_none(epoch["train_accuracy"]),
    }


def _graph(graph: Untrusted) -> GraphRecord:
    """Return a graph as graph_fingerprint gives it: so many nodes, lists so deep, texts that can be
    seen.
    """
    digest, nodes = graph["digest"], graph["nodes"]
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError("digest")
    if graph["method"] != "trace":
        raise ValueError("method")

    if not isinstance(nodes, list) or len(nodes) > MAXIMUM_NODES:
        raise ValueError("nodes")
    # Before anything recursive reads them.
    if _depth(nodes) > MAXIMUM_DEPTH:
        raise ValueError("nodes")
    for node in nodes:
        if not isinstance(node, list) or len(node) != 4:
            raise ValueError("nodes")
        if not isinstance(node[0], str):
            raise ValueError("nodes")

    shown = [_printable(node) for node in nodes]
    return {
        "digest": digest,
        "method": "trace",
        "operations": _whole(graph["operations"]),
        "nodes": cast(list[NodeRecord], shown),
    }


def _depth(value: object) -> int:
    """Return how deep lists are in lists, at most one more than is allowed."""
    level, depth = [value], 0

    while level and depth <= MAXIMUM_DEPTH:
        inner = []
        for values in level:
            if isinstance(values, list):
                inner += values

        level = inner
        if level:
            depth += 1
    return depth


def _printable(value: object) -> object:
    """Return plain data of a graph, its texts as lines that can be seen.

    Raise ValueError for anything else.
    """
    if isinstance(value, list):
        return [_printable(inner) for inner in value]
    if isinstance(value, str):
        return plain_line(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    return _number(value)


def _whole(value: Any) -> int:
    """Return what may be anything as a whole number; raise one of UNREADABLE otherwise."""
    number = int(value)
    if not 0 <= number <= MAXIMUM_WHOLE:
        raise ValueError("number")
    return number


def _whole_or_none(value: object) -> int | None:
    return None if value is None else _whole(value)


def _number(value: Any) -> float:
    """Return what may be anything as a finite number; raise one of UNREADABLE otherwise."""
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(value)
    return number


def _number_or_none(value: object) -> float | None:
    return None if value is None else _number(value)


def scored(record: Record, predictions: bytes, labels: Labels, settings: Evaluation) -> Record:
    """Return the record of one training with its accuracies: here the predictions meet the labels.

    predictions: a class (uint8) for each image of validation after every epoch, then for each image
    of test.
    """
    if record["outcome"] != "trained":
        return record

    splits = ["validation"] * settings.epochs + ["test"]
    expected = sum(len(labels[split]) for split in splits)
    wrong = _what_is_wrong(record, len(predictions), expected, settings)
    if wrong:
        outcome, detail = wrong
        return record | {"outcome": outcome, "detail": detail}

    predicted = list(_parts(np.frombuffer(predictions, np.uint8), labels, splits))
    accuracies = []
    for split, part in zip(splits, predicted):
        right = part == labels[split]
        accuracies.append(float(right.mean()))

    # By epoch; the test split is predicted once, after the last.
    *validation, test = accuracies
    for epoch, accuracy in zip(record["epochs"] or [], validation):
        epoch["accuracy"] = accuracy

    last = predicted[settings.epochs - 1]
    return record | {
        "accuracy": validation[-1],
        "accuracy_sd": None,
        "balanced_accuracy": balanced_accuracy(last, labels["validation"]),
        "test_accuracy": test,
    }


def _what_is_wrong(
    record: Record, predictions: int, expected: int, settings: Evaluation
) -> tuple[str, str] | None:
    """Return (outcome, detail) of a result that another training than was asked for gave.

    predictions, expected: how many there are, and how many there should be.
    """
    parameters, epochs = record["parameters"], record["epochs"] or []
    if predictions != expected:
        return "crashed", "its result is no array of the right size"
    if not parameters or len(epochs) != settings.epochs:
        return "crashed", "its result tells of another training than it was given"
    if parameters > settings.parameter_budget:
        return "over_budget", f"{parameters:,} parameters"
    return None


def _parts(predictions: np.ndarray, labels: Labels, splits: list[str]) -> Iterator[np.ndarray]:
    """Yield the predictions of each split in turn."""
    start = 0
    for split in splits:
        end = start + len(labels[split])
        yield predictions[start:end]
        start = end


def merged(records: list[Record]) -> Record:
    """Return one record of several trainings with other seeds: means, their noise, and what they
    took together.

    The last one decides what became of the program: the others were trained.
    """
    last = records[-1]
    if len(records) == 1 or last["outcome"] != "trained":
        return last

    epochs: list[Epoch] = []
    for number, record in enumerate(records):
        for epoch in record["epochs"] or ():
            epochs.append(epoch | {"repeat": number})
    seconds = {}
    for stage in records[0]["seconds"]:
        total = sum(record["seconds"].get(stage, 0) for record in records)
        seconds[stage] = round(total, 4)

    accuracies = _accuracies(records, "accuracy")
    log = "".join(record["log"] or "" for record in records)
    cpu_s = sum(record["cpu_s"] for record in records)
    return {
        # What all have in common: outcome, graph, format.
        **records[0],
        "accuracy": statistics.fmean(accuracies),
        "accuracy_sd": statistics.stdev(accuracies),
        "balanced_accuracy": statistics.fmean(_accuracies(records, "balanced_accuracy")),
        "test_accuracy": statistics.fmean(_accuracies(records, "test_accuracy")),
        "epochs": epochs,
        "seconds": seconds,
        "log": log[:MAXIMUM_TEXT],
        "parameters": max(record["parameters"] or 0 for record in records),
        "cpu_s": round(cpu_s, 3),
        "peak_mb": max(record["peak_mb"] for record in records),
    }


def _accuracies(
    records: list[Record], name: Literal["accuracy", "balanced_accuracy", "test_accuracy"]
) -> list[float]:
    """Return one accuracy of each record; they are of trained programs, which all have it."""
    accuracies = []
    for record in records:
        accuracy = record[name]
        assert accuracy is not None
        accuracies.append(accuracy)
    return accuracies


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over the classes that occur of the share of each that is predicted, so that
    rare ones count.
    """
    sizes = np.bincount(labels)
    right = np.bincount(labels[predicted == labels], minlength=len(sizes))
    occur = sizes > 0  # a class without an image has no share
    shares = right[occur] / sizes[occur]
    return float(shares.mean())


def plain_line(text: str, length: int = 300) -> str:
    """Return text from a candidate as one line of printable characters."""
    start = str(text)[:length]
    return "".join(char if char.isprintable() else " " for char in start).strip()


def plain_text(data: bytes) -> str:
    """Return what a candidate printed: lines of printable characters.

    All others are there as their escapes.
    """
    parts = []
    for char in data.decode("utf-8", "backslashreplace"):
        if char.isprintable() or char == "\n":
            parts.append(char)
        else:
            parts.append(char.encode("unicode_escape").decode())
    return "".join(parts)
