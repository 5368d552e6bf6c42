"""What a candidate's process says, made into a record, and scores from predictions: accuracy and balanced accuracy."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import recall_score

from archloop.evaluation.records import FIELDS, Record
from archloop.evaluation.score import balanced_accuracy, merged, plain_line, plain_text, read_result, scored
from archloop.sandbox.orders import SupervisorReport
from archloop.settings.sections import Evaluation

# Spelled out, for shards and tables name them so.
FIELDS_OF_A_RECORD = {"outcome", "detail", "parameters", "multiply_adds", "accuracy", "accuracy_sd", "test_accuracy"}
FIELDS_OF_A_RECORD |= {"epochs", "balanced_accuracy", "losses", "graph", "log"}


def test_a_record_has_these_fields():
    assert set(FIELDS) == FIELDS_OF_A_RECORD
    unjudged = dict.fromkeys(FIELDS_OF_A_RECORD) | {"epochs": [], "losses": []}
    record = read_result(SupervisorReport(ended=("timeout", "too slow"), status=-9), header(GOOD), b"n" * 16)
    assert record == (unjudged | {"outcome": "timeout", "detail": "too slow"}, b"")


def test_balanced_accuracy_of_one_and_the_same_answer_is_one_by_the_number_of_classes():
    labels = np.array([0] * 95 + [1] * 3 + [2] * 2, np.uint8)
    assert balanced_accuracy(np.zeros(100, np.uint8), labels) == pytest.approx(1 / 3)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur():
    predicted = np.random.default_rng(1).integers(0, 4, 100).astype(np.uint8)
    labels = np.random.default_rng(2).choice([0, 2], 100, p=[0.8, 0.2]).astype(np.uint8)
    expected = recall_score(labels, predicted, labels=[0, 2], average="macro")
    assert balanced_accuracy(predicted, labels) == pytest.approx(expected)


def test_a_record_holds_the_accuracies_of_the_last_epoch():
    labels = {"validation": np.array([0, 0, 0, 1], np.uint8), "test": np.array([1], np.uint8)}
    predictions = bytes([0, 0, 0, 1]) + bytes([0, 0, 0, 0]) + b"\1"
    epochs = [{"repeat": 0, "loss": None, "train_accuracy": None} for _ in range(2)]
    record = scored(trained(parameters=9, epochs=epochs), predictions, labels, replace(SETTINGS, epochs=2))
    assert (record["accuracy"], record["balanced_accuracy"], record["test_accuracy"]) == (0.75, 0.5, 1.0)
    assert [epoch["accuracy"] for epoch in record["epochs"]] == [1.0, 0.75]


def header(report: dict, nonce: bytes = b"n" * 16, tail: bytes = b"") -> bytes:
    text = json.dumps(report).encode()
    return nonce + len(text).to_bytes(4, "little") + text + tail


GOOD = {"outcome": "trained", "detail": "", "parameters": 1, "multiply_adds": 1, "graph": None}
GOOD |= {"epochs": [], "losses": [], "seconds": {}}


GRAPH = {"digest": "0" * 64, "method": "trace", "operations": 1, "nodes": []}
NODE = ["relu", [], [], [1, 2]]


def deep(levels: int) -> list:
    """Return lists in lists."""
    return json.loads("[" * levels + "]" * levels)


DEEP = deep(400)


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"n" * 16,
        header(GOOD, b"x" * 16),
        header(GOOD)[:40],
        b"n" * 16 + (2**31).to_bytes(4, "little") + b"{}",
        header(GOOD | {"outcome": "admitted"}),
        header(GOOD | {"parameters": "many"}),
        header(GOOD | {"losses": [float("nan")]}),
        header(GOOD | {"epochs": {"a": 1}}),
        header(GOOD | {"parameters": float("inf")}),
        header(GOOD | {"parameters": 10**400}),
        header(GOOD | {"parameters": -1}),
        header(GOOD | {"losses": [10**400]}),
        header(GOOD | {"graph": {"value": float("nan")}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [["relu", float("nan"), [], []]]}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [["relu", DEEP, [], []]]}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [NODE] * 501}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [["relu", [], []]]}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [[*NODE, 5]]}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [[5, [], [], []]]}}),
        header(GOOD | {"graph": GRAPH | {"nodes": ["relu"]}}),
        header(GOOD | {"graph": GRAPH | {"nodes": "relu"}}),
        header(GOOD | {"graph": GRAPH | {"nodes": {"a": 1, "b": 2}}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [["relu", [], [], {"a": 1}]]}}),
        header(GOOD | {"graph": GRAPH | {"nodes": [["relu", deep(20), [], []]]}}),
        header(GOOD | {"graph": GRAPH | {"digest": "0" * 63}}),
        header(GOOD | {"graph": GRAPH | {"digest": "G" * 64}}),
        header(GOOD | {"graph": GRAPH | {"digest": 5}}),
        header(GOOD | {"graph": GRAPH | {"method": "text"}}),
        header(GOOD | {"graph": GRAPH | {"operations": -1}}),
        header(GOOD | {"multiply_adds": 2**62 + 1}),
        header(GOOD | {"losses": [float("inf")]}),
        header(GOOD | {"seconds": {"check": float("nan")}}),
        header(GOOD | {"epochs": [{"repeat": 0, "loss": 1.0}]}),
        header(GOOD)[:-1],
        header({}),
        header([1]),
        b"n" * 16 + (9).to_bytes(4, "little") + b"[" * 9,
    ],
)
def test_a_result_that_is_not_the_judges_is_a_crash(result):
    record, predictions = read_result(SupervisorReport(), result, b"n" * 16)
    assert record["outcome"] == "crashed" and predictions == b""
    assert record["detail"] in (
        "the process ended with status 0 and no result",
        "its result is not that of the judge",
        "the facts in its result cannot be read",
    )


@pytest.mark.parametrize("length", [0, 2**20 + 1])
def test_a_header_has_a_length_within_bounds(length):
    result = b"n" * 16 + length.to_bytes(4, "little") + b" " * length
    record, _ = read_result(SupervisorReport(), result, b"n" * 16)
    assert record["detail"] == "its result is not that of the judge"


def test_a_header_may_have_a_byte_which_says_nothing():
    record, _ = read_result(SupervisorReport(), b"n" * 16 + (1).to_bytes(4, "little") + b"5", b"n" * 16)
    assert record["detail"] == "the facts in its result cannot be read"


def test_a_header_may_have_a_mebibyte():
    room = 2**20 - len(json.dumps(GOOD))
    record, _ = read_result(SupervisorReport(), header(GOOD | {"detail": "d" * room}), b"n" * 16)
    assert (record["outcome"], record["detail"]) == ("trained", "d" * 300)


def test_facts_that_are_sound_are_the_record():
    graph = GRAPH | {"nodes": [["conv", "text", [1.5, None, True], [deep(18)]]] * 500}
    report = GOOD | {"parameters": 2**62, "multiply_adds": 0, "graph": graph}
    report |= {"losses": [1, 0.5], "format": "float32, x"}
    report |= {"epochs": [{"repeat": 0, "loss": 1, "train_accuracy": None}], "seconds": {"check": "0.5", "train": 2}}
    record, predictions = read_result(SupervisorReport(), header(report, tail=b"predictions"), b"n" * 16)
    assert predictions == b"predictions" and record.pop("format") == "float32, x"
    assert record.pop("seconds") == {"check": 0.5, "train": 2.0}
    assert (record.pop("graph") == graph) is True  # a difference would be long to show
    unscored = dict.fromkeys(FIELDS_OF_A_RECORD - {"graph"})
    assert record == unscored | {name: report[name] for name in GOOD if name not in ("seconds", "graph")}


def test_facts_are_bounded_and_their_texts_are_lines_that_can_be_seen():
    given = header(
        GOOD
        | {
            "detail": "\x1b[31m" + "a" * 900,
            "losses": [1.0] * 1001,
            "seconds": {f"{number:02}" + "s" * 30: 1 for number in range(11)},
            "epochs": [{"repeat": 0, "loss": None, "train_accuracy": 0.5}] * 10_001,
            "format": "f" * 41,
            "graph": GRAPH | {"nodes": [["re\nlu", "\x1b", [], []]]},
        }
    )
    record, _ = read_result(SupervisorReport(), given, b"n" * 16)
    assert record["detail"] == "[31m" + "a" * 295  # of 300 characters the first is blank
    assert (len(record["losses"]), len(record["epochs"]), len(record["seconds"])) == (1000, 10_000, 10)
    assert {len(name) for name in record["seconds"]} == {20} and record["format"] == "f" * 40
    assert record["graph"] == GRAPH | {"nodes": [["re lu", "", [], []]]}


@pytest.mark.parametrize("status", [0, 3, -9, -11])
def test_a_forged_result_is_a_crash_whatever_signal_ends_it(status):
    record, _ = read_result(SupervisorReport(status=status), header(GOOD, b"x" * 16), b"n" * 16)
    assert (record["outcome"], record["detail"]) == ("crashed", "its result is not that of the judge")


@pytest.mark.parametrize(
    ("status", "outcome", "how"),
    [
        (-9, "out_of_memory", "signal 9"),
        (-7, "out_of_memory", "signal 7"),
        (-11, "crashed", "signal 11"),
        (-10, "crashed", "signal 10"),
        (0, "crashed", "status 0"),
        (3, "crashed", "status 3"),
    ],
)
def test_an_end_that_only_the_kernel_brings_about_is_missing_memory(status, outcome, how):
    record, _ = read_result(SupervisorReport(status=status), b"", b"n" * 16)
    assert (record["outcome"], record["detail"]) == (outcome, f"the process ended with {how} and no result")


def test_a_line_is_cut_after_its_length_and_has_no_blank_ends():
    assert plain_line(" a\tb\x00 ", 4) == "a b"
    assert plain_line("abcdef", 3) == "abc"


LABELS = {"validation": np.array([0, 0, 0, 1], np.uint8), "test": np.array([1, 0], np.uint8)}
SETTINGS = Evaluation(
    protocol="native", training="evaluator", repeats=1, epochs=1, batch_size=4, learning_rate=0.05, momentum=0.9,
    dropout=0.0, gradient_clip=0.5, parameter_budget=10, threads=1, precision="float32", timeout_s=60, memory_mb=100,
)  # fmt: skip
# Of the validation images three right, of the test images one.
PREDICTIONS = bytes([0, 0, 1, 1, 1, 1])
UNSCORED = dict.fromkeys(FIELDS_OF_A_RECORD) | {"outcome": "trained", "detail": "", "parameters": 10}


def trained(**changed) -> Record:
    """Return a record of one epoch before it is scored."""
    return UNSCORED | {"epochs": [{"repeat": 0, "loss": 1.0, "train_accuracy": 0.5}]} | changed


def test_accuracies_are_the_shares_that_are_right_of_each_split():
    record = scored(trained(), PREDICTIONS, LABELS, SETTINGS)
    assert record == UNSCORED | TRAINED_AND_SCORED


TRAINED_AND_SCORED = {
    "outcome": "trained",
    "detail": "",
    "parameters": 10,
    "epochs": [{"repeat": 0, "loss": 1.0, "train_accuracy": 0.5, "accuracy": 0.75}],
    "accuracy": 0.75,
    "accuracy_sd": None,
    "balanced_accuracy": (2 / 3 + 1) / 2,
    "test_accuracy": 0.5,
}


@pytest.mark.parametrize("count", [0, 1, 5, 7, 10**6])
def test_predictions_of_another_number_are_a_crash(count):
    record = scored(trained(), bytes(count), LABELS, SETTINGS)
    assert (record["outcome"], record["detail"]) == ("crashed", "its result is no array of the right size")
    assert record["accuracy"] is record["test_accuracy"] is record["accuracy_sd"] is record["balanced_accuracy"] is None


OTHERWISE = "its result tells of another training than it was given"


@pytest.mark.parametrize(
    ("said", "outcome", "detail"),
    [
        ({"epochs": []}, "crashed", OTHERWISE),
        ({"epochs": [{}, {}]}, "crashed", OTHERWISE),
        ({"parameters": None}, "crashed", OTHERWISE),
        ({"parameters": 0}, "crashed", OTHERWISE),
        ({"parameters": 11}, "over_budget", "11 parameters"),
        ({"parameters": 1234567}, "over_budget", "1,234,567 parameters"),
    ],
)
def test_a_training_that_is_told_of_otherwise_is_not_scored(said, outcome, detail):
    record = scored(trained(**said), PREDICTIONS, LABELS, SETTINGS)
    assert (record["outcome"], record["detail"], record["accuracy"]) == (outcome, detail, None)


def test_what_was_not_trained_has_no_score_whatever_it_sends():
    record = scored(trained(outcome="diverged"), PREDICTIONS, LABELS, SETTINGS)
    assert (record["outcome"], record["accuracy"], record["test_accuracy"]) == ("diverged", None, None)


def of_one_training(accuracy: float, repeat: int, **changed) -> dict:
    return {
        "outcome": "trained",
        "epochs": [{"repeat": 0, "loss": accuracy}],
        "accuracy": accuracy,
        "balanced_accuracy": accuracy / 2,
        "test_accuracy": accuracy / 4,
        "log": f"log {repeat}\n",
        "parameters": 10 + repeat,
        "seconds": {"train": 1.00004, "check": 2.0},
        "cpu_s": 1.5,
        "peak_mb": 100 + repeat,
        "graph": {"digest": f"of {repeat}"},
    } | changed


def test_repeats_are_one_record_of_their_means_and_what_they_took_together():
    record = merged([of_one_training(0.5, 1), of_one_training(0.75, 0, seconds={"train": 1.0})])
    assert record == {
        "outcome": "trained",
        "epochs": [{"repeat": 0, "loss": 0.5}, {"repeat": 1, "loss": 0.75}],
        "accuracy": 0.625,
        "balanced_accuracy": 0.3125,
        "test_accuracy": 0.15625,
        "accuracy_sd": pytest.approx(0.25 / 2**0.5),
        "log": "log 1\nlog 0\n",
        "parameters": 11,
        "seconds": {"train": 2.0, "check": 2.0},
        "cpu_s": 3.0,
        "peak_mb": 101,
        "graph": {"digest": "of 1"},
    }


def test_what_repeats_print_is_bounded_together():
    record = merged([of_one_training(0.5, 0, log="a" * 400_000), of_one_training(0.5, 1, log="b" * 400_000)])
    assert (len(record["log"]), record["log"].count("a")) == (2**19, 400_000)


def test_a_repeat_that_failed_decides_what_became_of_the_program():
    failed = of_one_training(0.5, 1, outcome="timeout")
    assert merged([of_one_training(0.5, 0), failed]) is failed
    assert merged([failed]) is failed


def test_control_characters_are_shown_as_their_escapes():
    assert plain_text(b"a\x1b[0m\r\n\xff\xe2\x80\xae") == "a\\x1b[0m\\r\n\\xff\\u202e"
