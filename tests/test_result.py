"""Scores from predictions: accuracy and, beside it, balanced accuracy."""

import numpy as np
import pytest
from sklearn.metrics import recall_score

from archloop.result import balanced_accuracy, scored


def test_balanced_accuracy_of_one_and_the_same_answer_is_one_by_the_number_of_classes():
    labels = np.array([0] * 95 + [1] * 3 + [2] * 2, np.uint8)
    assert balanced_accuracy(np.zeros(100, np.uint8), labels) == pytest.approx(1 / 3)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur():
    predicted = np.random.default_rng(1).integers(0, 4, 100).astype(np.uint8)
    labels = np.random.default_rng(2).choice([0, 2], 100, p=[0.8, 0.2]).astype(np.uint8)
    expected = recall_score(labels, predicted, labels=[0, 2], average="macro")
    assert balanced_accuracy(predicted, labels) == pytest.approx(expected)


def test_a_record_holds_the_balanced_accuracy_of_the_last_epoch_averaged_over_repeats():
    labels = {"validation": np.array([0, 0, 0, 1], np.uint8), "test": np.array([1], np.uint8)}
    first, second = bytes([1, 1, 1, 1]), bytes([0, 0, 0, 0])
    right = bytes([0, 0, 0, 1])
    predictions = first + right + b"\1" + first + second + b"\0"
    epochs = [{"repeat": repeat, "loss": None, "train_accuracy": None} for repeat in (0, 0, 1, 1)]
    record = {"outcome": "trained", "parameters": 9, "epochs": epochs, "predictions": predictions}
    found = scored(record, labels, {"epochs": 2, "repeats": 2, "parameter_budget": 10})
    assert found["accuracy"] == (1 + 0.75) / 2
    assert found["balanced_accuracy"] == (1 + 0.5) / 2
    assert found["test_accuracy"] == 0.5
    assert [epoch["accuracy"] for epoch in found["epochs"]] == [0.25, 1.0, 0.25, 0.75]
