"""What an adapter is trained on: scores, weights, rows of the corpus, and failed programs for dpo and kto."""

import itertools
import math
from dataclasses import replace

import pytest
from small_finetuning import CORPUS, FAILED, SETTINGS, run

from archloop.errors import InputError
from archloop.files import sha256_text
from archloop.finetuning.training_set import (
    JudgedProgram,
    ScoredProgram,
    TrainingPair,
    TrainingSet,
    accuracy_weights,
    make_training_set,
    training_rows,
    with_scores,
)

GOOD = [TrainingPair(prompt, f"a = {i}", 0.0) for i, prompt in enumerate(["one", "two", "one", "three"])]
MIXED = [
    JudgedProgram("one", "b = 1", "forward"),
    JudgedProgram("one", "b = 2", "construct"),
    JudgedProgram("one", "b = 2", "construct"),
    JudgedProgram("four", "b = 3", "forward"),
    JudgedProgram("two", "b = 4", "near_copy"),
    JudgedProgram("two", None, "forward"),
]
OUTCOMES = ["forward", "construct"]


def chosen(method: str, preferred: list[TrainingPair], failed: list[JudgedProgram], seed: int = 1) -> TrainingSet:
    settings = replace(SETTINGS, method=method, rejected=OUTCOMES)
    return make_training_set(preferred, failed, settings, seed)


def test_dpo_pairs_failed_programs_with_others_to_the_same_prompt():
    made = chosen("dpo", GOOD, MIXED)
    assert sorted((pair.prompt, pair.rejected) for pair in made.pairs) == [("one", "b = 1"), ("one", "b = 2")]
    assert {pair.program for pair in made.pairs} == {"a = 0", "a = 2"}
    assert made.failed_left_out == 1


def test_kto_takes_no_more_failed_programs_than_desirable_ones():
    made = chosen("kto", GOOD[:2], MIXED)
    assert [pair.desirable for pair in made.pairs] == [True, True, False, False]
    assert made.failed_left_out == 1 and {pair.program for pair in made.pairs[2:]} < {"b = 1", "b = 2", "b = 3"}
    assert chosen("kto", GOOD[:2], MIXED) == made


def test_kto_takes_failed_programs_by_the_seed_and_dpo_pairs_each_with_the_preferred_ones_in_turn():
    rows = [TrainingPair("p", f"good {at}", 0.5) for at in range(3)]
    failed = [JudgedProgram("p", f"bad {at}", "forward") for at in range(9)]
    made = [chosen("kto", rows, failed, seed).pairs for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert made[0][0] == TrainingPair("p", "good 0", 0.5)
    assert replace(made[0][3], program="") == TrainingPair("p", "", score=0.0, desirable=False)

    paired = chosen("dpo", rows, failed[:7])
    assert paired.failed_left_out == 0
    assert sorted(pair.rejected for pair in paired.pairs) == [f"bad {at}" for at in range(7)]
    # As adapters on record were trained: the number of the preferred program, then of the failed one.
    numbers = [pair.program[-1] + pair.rejected[-1] for pair in paired.pairs]
    assert numbers == ["02", "13", "25", "06", "11", "24", "00"]
    counts = sorted([pair.program for pair in paired.pairs].count(f"good {at}") for at in range(3))
    assert counts == [2, 2, 3]  # each answers in turn


def test_sft_takes_the_preferred_rows_alone():
    made = chosen("sft", GOOD, MIXED)
    assert made.pairs == GOOD and made.failed_left_out == 0


def test_scores_are_standard_deviations_from_the_mean_of_the_data_set():
    accuracies = [("a", 0.4), ("a", 0.6), ("b", 0.9), ("b", 0.9)]
    rows = [ScoredProgram("", "", dataset, accuracy, cycle=0) for dataset, accuracy in accuracies]
    assert [pair.score for pair in with_scores(rows)] == pytest.approx([-1.0, 1.0, 0.0, 0.0])


def test_weights_are_exponential_with_mean_one_and_bounded():
    weights = accuracy_weights([-1.0, 0.0, 1.0], 0.5)
    assert sum(weights) == pytest.approx(3)
    assert [b / a for a, b in itertools.pairwise(weights)] == pytest.approx([math.exp(0.5)] * 2)
    assert accuracy_weights([-1.0, 3.0], 0.0) == [1.0, 1.0]
    far = accuracy_weights([0.0] * 99 + [1000.0], 5.0)
    assert far[-1] / far[0] == pytest.approx(20)
    assert accuracy_weights([], 1.0) == []


@pytest.mark.parametrize("change", [{"order": "accuracy"}, {"accuracy_weight": 1.0}], ids=str)
def test_what_failed_has_no_accuracy_to_go_by(tiny_model, tmp_path, change):
    with pytest.raises(InputError, match="kto knows no order and no accuracy_weight"):
        run(tiny_model, tmp_path, method="kto", candidates=FAILED, **change)


@pytest.mark.parametrize("accuracy", [None, math.nan])
def test_a_corpus_without_accuracy_is_refused(tiny_model, tmp_path, accuracy):
    with pytest.raises(InputError, match="has no accuracy"):
        run(tiny_model, tmp_path, admitted=[*CORPUS, replace(CORPUS[0], accuracy=accuracy)])


def row(program: str, cycle: int) -> ScoredProgram:
    return ScoredProgram("prompt", program, "digits", 0.5, cycle)


@pytest.mark.parametrize(
    ("settings", "admitted", "expected"),
    [
        ({"train_on": "corpus", "replay": None}, ["f"], ["f", "s0", "s1", "c"]),
        ({"train_on": "corpus", "replay": 3}, ["f"], ["f", "s0", "s1", "c"]),
        ({"train_on": "corpus", "replay": 0}, ["f"], ["f"]),
        ({"train_on": "seed_corpus", "replay": 0}, [], []),
        ({"train_on": "seed_corpus", "replay": 3}, ["f"], ["s0", "s0", "s1", "s1"]),
        ({"train_on": "seed_corpus", "replay": 1}, ["f"], ["s0", "s1"]),
    ],
)
def test_a_cycle_trains_on_its_own_rows_and_on_so_many_of_the_earlier_ones(settings, admitted, expected):
    corpus = [row("s0", 0), row("s1", 0), row("c", 1)]
    rows = training_rows(corpus, [row(name, 2) for name in admitted], replace(SETTINGS, **settings), 1)
    assert sorted(each.program for each in rows) == sorted(expected)


def test_a_share_of_the_earlier_rows_is_drawn_by_the_seed():
    corpus = [row(str(at), 0) for at in range(20)]
    settings = replace(SETTINGS, replay=5)
    drawn = [[each.program for each in training_rows(corpus, [], settings, seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) == 5


def test_the_digest_of_a_training_set_is_that_of_adapters_on_record():
    """Of rows as the first release wrote them: sha256 of each, and of these in lines."""
    one = TrainingPair("Design net 0.", "x = 0\n", -1.5)
    two = TrainingPair("Design net 1.", "x = 1\n", 0.5, rejected="y = 1\n", desirable=False)
    rows = [
        {"prompt": "Design net 0.", "program": "x = 0\n", "score": -1.5, "worse": None, "good": True},
        {"prompt": "Design net 1.", "program": "x = 1\n", "score": 0.5, "worse": "y = 1\n", "good": False},
    ]
    lines = "\n".join(sha256_text(repr(sorted(row.items()))) for row in rows)
    assert TrainingSet("dpo", [one, two]).digest() == sha256_text(lines)
    assert one.digest() == "2f479b1cfa01eed575c25df5bd87ff728a276b3d756e751f240394561b14a384"
