"""The seed corpus: measured programs with their prompts, and what was dropped and why."""

from dataclasses import replace

import jinja2
import pytest
from edit_pairs import PLAIN, RESIDUAL
from small_cycle import DATASET, NOVELTY, PROGRAMS, cycle

from archloop.corpus.candidate_rows import join
from archloop.corpus.tables import CORPUS
from archloop.errors import InputError
from archloop.generation.prompts import PromptTexts, task_of
from archloop.novelty.gate import near_copies
from archloop.seed_corpus.build_seed_corpus import build_seed_corpus

TEMPLATE = jinja2.Template("{{ dataset }}, {{ parameter_budget }} parameters, {{ epochs }} epoch. {{ hint }}")
TEXTS = PromptTexts(TEMPLATE, {"plain": "Keep it plain."})
TASK = task_of(DATASET, epochs=1, parameter_budget=5000)


def built(*entries, change=lambda records: None):
    programs, records = cycle(*entries, chain="seed", number=0)
    for row in programs:
        row["family"] = "plain"
    change(records)
    return build_seed_corpus(join(programs, records), DATASET, TEXTS, TASK)


def test_each_pair_has_its_prompt_and_what_was_measured():
    corpus, dropped = built((PROGRAMS[0], 0.2), (PROGRAMS[1], 0.9))
    assert dropped == [] and dict(corpus.schema) == CORPUS
    assert corpus["prompt"].to_list() == ["digits, 5000 parameters, 1 epoch. Keep it plain.\n"] * 2
    assert corpus["accuracy"].to_list() == [0.2, 0.9] and corpus["parameters"].to_list() == [1000, 1000]
    assert corpus["signature"].bin.size().to_list() == [1024, 1024]


def test_what_is_dropped_is_named_with_the_reason():
    def too_large(records):
        records[3]["parameters"] = 6000

    skipped = RESIDUAL.replace("x = F.relu(self.stem", "x = F.silu(self.stem")
    entries = [
        ("timeout",),
        (RESIDUAL, 0.5),
        (skipped, 0.9),
        (PLAIN, 0.5),
        (PROGRAMS[0], 0.5, "a"),
        (PROGRAMS[1], 0.5, "a"),
    ]
    corpus, dropped = built(*entries, change=too_large)
    assert corpus["id"].to_list() == ["seed-00-0001", "seed-00-0004"]
    reasons = {row["id"]: row["why"] for row in dropped}
    assert reasons["seed-00-0000"].startswith("timeout")
    assert reasons["seed-00-0002"].startswith("near-copy of seed-00-0001 (0.9")
    assert reasons["seed-00-0003"] == "6000 parameters, the prompt allows 5000"
    assert reasons["seed-00-0005"] == "computes the same graph as seed-00-0004"


def test_a_copy_of_a_dropped_copy_stays_if_it_is_none_of_a_kept_one():
    words = [f"w{number} = {number}" for number in range(60)]
    one, two, three = ("\n".join(words[start : start + 50]) for start in (0, 2, 4))
    copies, _ = near_copies([*"abc"], [one, two, three], [None] * 3, replace(NOVELTY, threshold=0.88))
    assert set(copies) == {"b"}


def test_nothing_left_is_an_error_that_says_why():
    with pytest.raises(InputError, match=r"no program of the seed corpus is left \(timeout"):
        built(("timeout",))
