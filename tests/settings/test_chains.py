"""Chains: repeats, sources, starts, and which cycles train; resolved from settings alone."""

import re

import pytest
from refusals import refusal
from sections import defaults
from small_run import shipped

from archloop.finetuning.training_set import ScoredProgram, training_rows
from archloop.novelty.gate import Match, Nearest
from archloop.settings.chains import (
    adapter_after,
    ancestors,
    chain_pattern,
    cycles_of,
    effective,
    inherited_cells,
    parent_of,
    role,
    trains,
    unlike,
    uses_seed_adapter,
)
from archloop.settings.complete import complete
from archloop.settings.sections import Finetuning, Novelty

FROZEN = {"finetuning": {"train_on": "none"}}


def chains(config: dict, **more: dict) -> dict:
    """Return complete settings with main (two cycles on digits) and some more chains."""
    config["chains"] |= {name: {"dataset": "digits", "cycles": 2} | chain for name, chain in more.items()}
    return complete(config)


def test_repeats_are_chains_that_differ_in_their_seed(config):
    config["random_seed"] = 5
    found = chains(config, hot={"repeats": 3, "generation": {"temperature": 1.0}})["chains"]
    assert list(found) == ["seed", "main", "hot", "hot_s2", "hot_s3"]
    assert [found[name]["random_seed"] for name in ("main", "hot", "hot_s2", "hot_s3")] == [5, 5, 6, 7]
    assert found["hot_s3"] | {"random_seed": 5} == found["hot"]


def test_the_seed_has_cycle_0_alone_and_a_chain_those_from_1_on(config):
    settings = chains(config)
    assert [list(cycles_of(settings, name)) for name in ("seed", "main")] == [[0], [1, 2]]


def test_without_a_cycle_the_values_of_the_whole_chain_hold(config):
    settings = chains(config, hot={"generation": {"top_k": 7}, "at": {"1": {"generation": {"top_k": 9}}}})
    assert [effective(settings, "generation", "hot", *cycle)["top_k"] for cycle in ([], [1], [2])] == [7, 9, 7]


def test_complete_settings_are_complete(config):
    settings = chains(config, hot={"repeats": 2, "start": "main"}, cold={"repeats": 2, "start": "hot"})
    assert complete(settings) == settings


def test_a_repeat_starts_from_the_same_repeat_where_there_is_one(config):
    more = {"a": {"repeats": 2}, "b": {"repeats": 3, "start": "a/1"}, "c": {"repeats": 2, "source": "a", "cycles": 1}}
    found = chains(config, **more)["chains"]
    assert [found[name]["start"] for name in ("b", "b_s2", "b_s3")] == ["a/1", "a_s2/1", "a/1"]
    assert [found[name]["source"] for name in ("c", "c_s2")] == ["a", "a_s2"]


def test_a_chain_that_trains_on_nothing_keeps_the_adapter_that_it_starts_from(config):
    more = {"frozen": FROZEN, "after": {"start": "frozen"}, "moved": FROZEN | {"start": "main"}}
    settings = chains(config, **more, bare=FROZEN | {"start": "base"}, fresh={"start": "base"})
    assert not any(trains(settings, "frozen", cycle) for cycle in (1, 2))
    assert adapter_after(settings, "frozen", 2) == adapter_after(settings, "after", 0) == ("seed", 0)
    assert adapter_after(settings, "moved", 1) == ("main", 2)
    assert adapter_after(settings, "bare", 2) is adapter_after(settings, "fresh", 0) is None
    assert adapter_after(settings, "fresh", 2) == ("fresh", 2)


def test_what_an_adapter_was_taught_is_inherited_by_the_chains_that_go_on_from_it(config):
    more = {"moved": {"start": "main/1"}, "again": {"start": "moved"}, "stays": FROZEN | {"start": "again"}}
    more |= {"after": {"start": "stays"}, "frozen": FROZEN, "late": {"start": "frozen"}, "bare": {"start": "base"}}
    more |= {"designs": {"source": "main", "cycles": 1}, "random": {"source": "families"}}
    more |= {"afresh": {"start": "main", "finetuning": {"initialise": "new"}}, "next": {"start": "afresh"}}
    settings = chains(config, **more)
    moved = [("main", 1)]
    again = [*moved, ("moved", 1), ("moved", 2)]
    wanted = {"main": [], "moved": moved, "again": again, "stays": [*again, ("again", 1), ("again", 2)]}
    wanted |= {"after": wanted["stays"], "late": [], "bare": [], "designs": [], "random": []}
    wanted |= {"afresh": [("main", 1), ("main", 2)], "next": [("afresh", 1), ("afresh", 2)]}
    assert {name: inherited_cells(settings, name) for name in wanted} == wanted


def test_one_cycle_may_train_on_nothing(config):
    settings = chains(config, rests={"cycles": 3, "at": {2: FROZEN}})
    assert [adapter_after(settings, "rests", cycle)[1] for cycle in (1, 2, 3)] == [1, 1, 3]


def test_a_chain_whose_candidates_no_model_writes_trains_nothing(config):
    settings = chains(config, random={"source": "families"}, designs={"source": "main", "cycles": 1})
    assert not trains(settings, "random", 1) and not trains(settings, "designs", 1) and trains(settings, "main", 1)


def test_a_control_of_a_loop_differs_from_it_in_one_thing_alone(config):
    hot, fixed = {"generation": {"temperature": 1.0}}, {"finetuning": {"train_on": "seed_corpus"}}
    other = {"finetuning": {"train_on": "none", "epochs": 9}}
    strict = {"novelty": {"threshold": 0.5}}
    more = {"frozen": FROZEN, "other": other, "warm": FROZEN | hot, "moved": FROZEN | {"start": "main"}}
    more |= {"fixed": fixed, "fixed_hot": fixed | hot, "designs": {"source": "main", "cycles": 1}}
    more |= {"random": {"source": "families"} | hot, "random_strict": {"source": "families"} | strict}
    more |= {"shards": FROZEN | {"cycle": {"shards": 2}}, "again": {}}
    settings = chains(config, **more)
    assert {name: role(settings, name, "main") for name in more} == {
        "frozen": "frozen",
        "other": "frozen",
        "warm": None,
        "moved": None,
        "fixed": "fixed",
        "fixed_hot": None,
        "designs": None,
        "random": "random",
        "random_strict": None,
        "shards": "frozen",
        "again": None,
    }
    assert unlike(settings, "warm", "main", ("generation", "finetuning")) == [
        "generation.temperature",
        "finetuning.train_on",
    ]


def test_cycle_0_is_left_out_where_no_chain_starts_from_it(config):
    assert uses_seed_adapter(chains(config, bare=FROZEN | {"start": "base"}))
    config["chains"] = {"seed": {"dataset": "digits"}}
    assert not uses_seed_adapter(chains(config, bare=FROZEN | {"start": "base"}, random={"source": "families"}))


def test_what_a_chain_builds_on(config):
    more = {"moved": {"start": "main/1"}, "designs": {"source": "moved", "cycles": 1}, "random": {"source": "families"}}
    settings = chains(config, **more)
    assert list(ancestors(settings, "designs")) == [("moved", 2), ("main", 1), ("seed", 0)]
    assert parent_of(settings, "random") == ("seed", 0)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"b": {"source": "main"}}, "chains.b.cycles: with source main all candidates are evaluated in one cycle"),
        ({"b": {"source": "main/7", "cycles": 1}}, "chains.b.source: main has 2 cycles, not 7"),
        (
            {"b": {"source": "nowhere", "cycles": 1}},
            "chains.b.source: there is no chain nowhere; there are model, families, main",
        ),
        ({"b": {"source": "families/2"}}, "chains.b.source: families has no cycle 2"),
        ({"b": {"source": "families"}, "c": {"start": "b"}}, "chains.c.start: b has no adapter"),
        ({"b": {"source": "c", "cycles": 1}, "c": {"source": "b", "cycles": 1}}, "chains.b.source: b <- c <- b"),
        ({"b": {"repeats": 2}, "b_s2": {}}, "chains.b_s2: the name is that of a repeat of b"),
        ({"base": {}}, "not a valid name of a chain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_chains_that_do_not_fit_together_are_refused_in_one_line(config, more, says):
    config["chains"] |= {name: {"dataset": "digits", "cycles": 2} | chain for name, chain in more.items()}
    assert says in refusal(config)


def test_a_chain_may_go_on_from_the_bare_model_with_an_adapter_of_its_own_shape(config):
    chains(config, bare={"start": "base", "finetuning": {"lora_rank": 3}})
    config["chains"]["bare"]["start"] = "seed"
    assert "chains.bare, cycle 1: finetuning.lora_rank is 3" in refusal(config)


def test_without_a_gate_nothing_is_refused():
    duplicate = Match(Nearest("main-01-0001", 1.0, True), "main-01-0001")
    assert duplicate.is_copy(Novelty(gate="either", threshold=0.9, shingle_tokens=10))
    assert not duplicate.is_copy(Novelty(gate="none", threshold=0.9, shingle_tokens=10))


@pytest.mark.parametrize("replay", [0, 6, None])
@pytest.mark.parametrize("admitted", [0, 5, 50])
def test_a_fixed_corpus_trains_as_long_as_a_growing_one(replay, admitted):
    def rows(numbers: range, cycle: int) -> list[ScoredProgram]:
        return [ScoredProgram("prompt", f"x = {number}", "digits", 0.5, cycle) for number in numbers]

    seeds, new = rows(range(20), 0), rows(range(100, 104), 2)
    corpus = seeds + rows(range(20, 20 + admitted), 1)
    growing = training_rows(corpus, new, defaults(Finetuning, train_on="corpus", replay=replay), 1)
    fixed = training_rows(corpus, new, defaults(Finetuning, train_on="seed_corpus", replay=replay), 1)
    assert len(growing) == len(fixed)
    times = [sum(row == each for row in fixed) for each in seeds]
    assert sum(times) == len(fixed) and max(times) - min(times) <= 1


@pytest.mark.parametrize("files", [["config.yaml"], ["config.yaml", "ablations.yaml"]])
def test_every_chain_of_the_papers_run_has_the_threshold_of_its_data_set(files):
    settings = complete(shipped(*files))
    thresholds: dict[str, set] = {}
    for name, chain in settings["chains"].items():
        if name != "seed":
            own = chain.get("admission", settings["admission"])
            thresholds.setdefault(chain["dataset"], set()).add((own["threshold"], own["fill_accuracy"]))
    assert thresholds == {"cifar10": {(0.4, 0.35)}, "cifar100": {(0.1, None)}, "svhn": {(0.6, None)}}


@pytest.mark.parametrize(
    ("place", "planned"),
    [
        ("cycle-1/summary.json", True),
        ("cycle-2/generated/1.run.json", True),
        ("cycle-1/evaluated/3.json", True),
        ("architectures/index.json", True),
        ("cycle-2/evaluated/2.json", False),
        ("cycle-1/generated/4.jsonl", False),
        ("cycle-1/generated/01.jsonl", False),
        ("cycle-12/summary.json", False),
        ("cycle-3/candidates.parquet", False),
    ],
)
def test_the_name_of_a_chain_stands_before_what_is_planned_alone(config, place, planned):
    config["chains"]["main"]["at"] = {1: {"cycle": {"shards": 4}}}
    pattern = f"results/(?:{chain_pattern(complete(config), 'main')})/.*"
    assert bool(re.fullmatch(pattern, f"results/main/{place}")) == planned
