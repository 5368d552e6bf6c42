"""What a candidate's process says, made into a record: every value of its type, and the score from the labels.

Nothing that comes from there is believed: a program can lie about itself, but it breaks no record and makes no score.
"""

import json
import re
import signal
import statistics

import numpy as np

# What goes into the records of a shard: all that the program, the protocol, the data and the seed determine (on a CPU).
FIELDS = (
    "outcome",
    "detail",
    "parameters",
    "multiply_adds",
    "accuracy",
    "accuracy_sd",
    "test_accuracy",
    "epochs",
)
FIELDS += ("balanced_accuracy", "losses", "graph", "log")
MAXIMUM_HEADER = 2**20
MAXIMUM_TEXT = 2**19  # of what all repeats of a candidate print
NO_RESULT = "the process ended"
MAXIMUM_WHOLE = 2**62  # a number that a table of 64 bits holds
MAXIMUM_DEPTH = 20  # of lists in the nodes of a graph
MAXIMUM_NODES = 500  # that graph.py lists of one
DIGEST = re.compile("[0-9a-f]{64}")


def read_result(report: dict, result: bytes, nonce: bytes) -> dict:
    """Return what the keeper saw and the candidate said as a record, its predictions (bytes) not yet scored.

    report: status (exit code, or minus a signal) and stopped ((outcome, reason) or None). result: the nonce, the length
    of a JSON header in four bytes, the header, the predictions.
    """
    record = dict.fromkeys(FIELDS) | {"epochs": [], "losses": [], "detail": ""}
    if report["stopped"]:
        return record | dict(zip(("outcome", "detail"), report["stopped"]))
    length = int.from_bytes(result[16:20], "little")
    if (
        not result.startswith(nonce)
        or not 0 < length <= MAXIMUM_HEADER
        or len(result) < 20 + length
    ):
        code = report["status"]
        how = f"signal {-code}" if code < 0 else f"status {code}"
        # A candidate can send no signal, so nobody but the kernel, short of memory, ends it so.
        memory = code in (-signal.SIGKILL, -signal.SIGBUS)
        detail = (
            f"{NO_RESULT} with {how} and no result"
            if not result
            else "its result is not that of the judge"
        )
        return record | {
            "outcome": "out_of_memory" if memory and not result else "crashed",
            "detail": detail,
        }
    try:
        said = _facts(json.loads(result[20 : 20 + length]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return record | {"outcome": "crashed", "detail": "the facts in its result cannot be read"}
    return record | said | {"predictions": result[20 + length :]}


def _facts(said: dict) -> dict:
    """Return what the candidate's process says of it, every value of the type that it must have.

    Raises ValueError, KeyError, TypeError or OverflowError otherwise: a program can lie about itself, but break no
    record.
    """
    outcomes = (
        "trained",
        "construct",
        "forward",
        "contract",
        "over_budget",
        "out_of_memory",
        "crashed",
        "diverged",
    )
    if said["outcome"] not in outcomes:
        raise ValueError(said["outcome"])
    whole = {
        name: None if said[name] is None else _whole(said[name])
        for name in ("parameters", "multiply_adds")
    }
    epochs = [
        {"repeat": _whole(epoch["repeat"])}
        | {
            name: None if epoch[name] is None else _number(epoch[name])
            for name in ("loss", "train_accuracy")
        }
        for epoch in said["epochs"][:10_000]
    ]
    return whole | {
        "outcome": said["outcome"],
        "detail": plain_line(said["detail"]),
        "graph": None if said["graph"] is None else _graph(said["graph"]),
        "epochs": epochs,
        "losses": [_number(value) for value in said["losses"][:1000]],
        "format": plain_line(said.get("format", ""), 40),
        "seconds": {
            plain_line(name, 20): _number(value)
            for name, value in list(said["seconds"].items())[:10]
        },
    }


def _graph(said: dict) -> dict:
    """Return a graph as graph_fingerprint gives it: so many nodes, lists so deep, texts that can be seen."""
    digest, nodes = said["digest"], said["nodes"]
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest) and said["method"] == "trace"):
        raise ValueError("digest")
    if not isinstance(nodes, list) or len(nodes) > MAXIMUM_NODES or _depth(nodes) > MAXIMUM_DEPTH:
        raise ValueError("nodes")
    if any(
        not isinstance(node, list) or len(node) != 4 or not isinstance(node[0], str)
        for node in nodes
    ):
        raise ValueError("nodes")
    return {
        "digest": digest,
        "method": "trace",
        "operations": _whole(said["operations"]),
        "nodes": _seen(nodes),
    }


def _depth(value: object) -> int:
    """Return how deep lists are in lists, at most one more than is allowed."""
    level, depth = [value], 0
    while level and depth <= MAXIMUM_DEPTH:
        level = [each for values in level if isinstance(values, list) for each in values]
        depth += bool(level)
    return depth


def _seen(value: object) -> object:
    """Return plain data of a graph, its texts as lines that can be seen; raise ValueError for anything else."""
    if isinstance(value, list):
        return [_seen(each) for each in value]
    if isinstance(value, str):
        return plain_line(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    return _number(value)


def _whole(value: object) -> int:
    number = int(value)
    if not 0 <= number <= MAXIMUM_WHOLE:
        raise ValueError("number")
    return number


def _number(value: object) -> float:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(value)
    return number


def scored(record: dict, labels: dict[str, np.ndarray], settings: dict) -> dict:
    """Return the record with its accuracies: here the predictions meet the labels."""
    predictions = record.pop("predictions", b"")
    record |= dict.fromkeys(("accuracy", "accuracy_sd", "balanced_accuracy", "test_accuracy"))
    if record["outcome"] != "trained":
        return record
    splits = ["validation"] * settings["epochs"] + ["test"]
    wanted = np.concatenate([labels[split] for split in splits * settings["repeats"]])
    if len(predictions) != len(wanted):
        return record | {"outcome": "crashed", "detail": "its result is no array of the right size"}
    if (
        not record["parameters"]
        or len(record["epochs"]) != settings["repeats"] * settings["epochs"]
    ):
        return record | {
            "outcome": "crashed",
            "detail": "its result tells of another training than it was given",
        }
    if record["parameters"] > settings["parameter_budget"]:
        return record | {"outcome": "over_budget", "detail": f"{record['parameters']:,} parameters"}
    ends = np.cumsum([len(labels[split]) for split in splits * settings["repeats"]])[:-1]
    parts = list(zip(np.split(np.frombuffer(predictions, np.uint8), ends), np.split(wanted, ends)))
    shares = [float((predicted == labels_there).mean()) for predicted, labels_there in parts]
    runs = [shares[at : at + len(splits)] for at in range(0, len(shares), len(splits))]
    for epoch, share in zip(record["epochs"], (share for run in runs for share in run[:-1])):
        epoch["accuracy"] = share
    final = [run[-2] for run in runs]
    record["accuracy"] = statistics.fmean(final)
    record["accuracy_sd"] = statistics.stdev(final) if len(final) > 1 else None
    last_epochs = parts[settings["epochs"] - 1 :: len(splits)]
    record["balanced_accuracy"] = statistics.fmean(balanced_accuracy(*part) for part in last_epochs)
    return record | {"test_accuracy": statistics.fmean(run[-1] for run in runs)}


def merged(records: list[dict]) -> dict:
    """Return one record of several trainings with other seeds: means, their noise, and what they took together.

    The last one decides what became of the program: the others were trained.
    """
    if len(records) == 1 or records[-1]["outcome"] != "trained":
        return records[-1]
    whole = records[0] | {"epochs": []}
    for number, record in enumerate(records):
        whole["epochs"] += [epoch | {"repeat": number} for epoch in record["epochs"]]
    for name in ("accuracy", "balanced_accuracy", "test_accuracy"):
        if name in whole:
            whole[name] = statistics.fmean(record[name] for record in records)
    whole["log"] = "".join(record["log"] for record in records)[:MAXIMUM_TEXT]
    whole["accuracy_sd"] = statistics.stdev(record["accuracy"] for record in records)
    whole["parameters"] = max(record["parameters"] for record in records)
    stages = {
        name: [record["seconds"].get(name, 0) for record in records] for name in whole["seconds"]
    }
    whole["seconds"] = {name: round(sum(values), 4) for name, values in stages.items()}
    whole["cpu_s"] = round(sum(record["cpu_s"] for record in records), 3)
    whole["peak_mb"] = max(record["peak_mb"] for record in records)
    return whole


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over the classes that occur of the share of each that is predicted, so that rare ones count."""
    sizes = np.bincount(labels)
    found = np.bincount(labels[predicted == labels], minlength=len(sizes))
    return float((found[sizes > 0] / sizes[sizes > 0]).mean())


def plain_line(text: str, length: int = 300) -> str:
    """Return text from a candidate as one line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in str(text)[: 4 * length])[:length].strip()


def plain_text(data: bytes) -> str:
    """Return what a candidate printed: lines of printable characters, all others as their escapes."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
