"""The verdict: how often it is wrong where nothing happens, what it says of planted truths, and its formulas."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from scipy import stats
from small_run import shipped
from synthetic_results import LOOK
from synthetic_results import settings as settings_of

from archloop.report.contrasts import contrasts, holm, window
from archloop.report.groups import controls_of, loop_of
from archloop.report.loop_verdict import NEXT, reach_verdict
from archloop.report.results import Chain, Results
from archloop.settings.complete import complete

CYCLES, CANDIDATES = 22, 192
EQUAL = {"loop": 0.2, "frozen": 0.2, "fixed": 0.2, "random": 0.2}


def made(number: int, rates: dict, runs: int = 3, cycles: int = CYCLES, run_sd: float = 0.15, done: dict | None = None):
    """Return (counts, role -> runs): what comes of each rate, with noise of runs and of cycles that resemble the last.

    Noise is in logits. done: role -> cycles that its runs have finished.
    """
    rng, rows = np.random.default_rng(number), []
    groups = {role: [f"{role}_{run}" for run in range(runs)] for role in rates}
    for role, rate in rates.items():
        for name in groups[role]:
            level, drift = np.log(rate / (1 - rate)) + rng.normal(0, run_sd), 0.0
            for cycle in range(1, (done or {}).get(role, cycles) + 1):
                drift = 0.5 * drift + rng.normal(0, 0.3)
                share = 1 / (1 + np.exp(-level - drift))
                rows.append((name, cycle, CANDIDATES, int(rng.binomial(CANDIDATES, share))))
    return pl.DataFrame(rows, ["chain", "cycle", "candidates", "new_good"], orient="row"), groups


def verdict_on(counts: pl.DataFrame, groups: dict, number: int = 1, cycles: int = CYCLES):
    controls = {role: names for role, names in groups.items() if role != "loop"}
    planned = {name: cycles for names in groups.values() for name in names}
    return reach_verdict(counts, groups["loop"], controls, planned, LOOK, number)


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_where_nothing_happens_fewer_than_one_verdict_in_twenty_is_positive(runs):
    found = [verdict_on(*made(number, EQUAL, runs), number) for number in range(200)]
    assert sum(each.positive for each in found) < 10, Counter(each.kind for each in found)
    assert sum(each.random_ahead for each in found) < 10


def test_candidates_taken_for_independent_would_be_wrong_there_far_more_often():
    # What the interval over candidates that stood here before would say of the same 200: the noise made is no easy one.
    wrong = 0
    for number in range(200):
        counts, groups = made(number, EQUAL)
        last = counts.filter(pl.col("cycle") > 15)
        sums = [last.filter(pl.col("chain").is_in(groups[role])).sum() for role in ("loop", "frozen")]
        table = [[each["new_good"][0], each["candidates"][0] - each["new_good"][0]] for each in sums]
        wrong += stats.chi2_contingency(table).pvalue < 0.05
    assert wrong > 60


@pytest.mark.parametrize(
    ("rates", "kind", "words"),
    [
        ({"loop": 0.4, "frozen": 0.1, "fixed": 0.15, "random": 0.1}, "works", "It works here."),
        ({"loop": 0.4, "frozen": 0.1, "fixed": 0.39, "random": 0.1}, "training", "more training, not its own designs"),
        ({"loop": 0.4, "frozen": 0.1}, "works", "It works here."),
        ({"loop": 0.1, "frozen": 0.4, "fixed": 0.4, "random": 0.1}, "worse", "It does not work here"),
        (EQUAL, "not_apart", "No difference shown between the loop and a model that does not learn."),
        ({"loop": 0.4, "frozen": 0.1, "fixed": 0.15, "random": 0.8}, "works", "Random search is ahead. It works here."),
        ({"loop": 0.4, "random": 0.1}, "no_control", "Cannot be answered"),
        ({"loop": 0.4, "random": 0.8}, "no_control", "Random search is ahead. Cannot be answered"),
        ({"loop": 0.4}, "no_control", "Cannot be answered"),
    ],
)
def test_planted_truths_get_their_sentence(rates, kind, words):
    found = verdict_on(*made(3, rates, run_sd=0.05))
    assert (found.kind, found.as_of) == (kind, None)
    assert words in found.headline and found.next == NEXT[kind]
    assert found.headline.startswith("Random search is ahead.") == (rates.get("random") == 0.8)


def test_what_is_not_told_apart_says_what_could_have_been():
    found = verdict_on(*made(3, EQUAL))
    needed = found.contrasts["frozen"].detectable
    assert f"With 3 runs each, a true difference of {needed:.0f} would be found 4 times in 5." in found.sentence


def test_the_smallest_effect_is_told_apart_four_times_in_five():
    rng = np.random.default_rng(1)

    def cells(mean: float) -> np.ndarray:
        return np.stack([rng.normal(mean, 3.0, (5, 1)), np.full((5, 1), 100.0)], -1)

    def one(mean: float) -> dict:
        loop = {"a": cells(50 + mean), "b": cells(50), "c": cells(50)}
        return contrasts(loop, {name: cells(50) for name in "abc"}, 10, 1, shares=False)

    needed = float(np.mean([one(0.0)["a"].detectable for _ in range(200)]))
    hits = [one(needed)["a"] for _ in range(400)]
    assert 0.75 < np.mean([each.told_apart for each in hits]) < 0.85


def test_one_run_says_nothing_about_other_runs_and_two_say_too_little():
    rates = {"loop": 0.5, "frozen": 0.1, "random": 0.9}
    one, two = (verdict_on(*made(1, rates, runs)) for runs in (1, 2))
    assert (one.kind, two.kind) == ("one_run", "two_runs") and not one.positive and not two.positive
    assert one.headline == "In this run random search is ahead. One run: no answer about other runs."
    assert two.headline.startswith("In these runs random search is ahead. Two runs: too few")
    assert one.contrasts["frozen"].method == "cycles" and "over its cycles" in one.sentence
    bare = two.contrasts["frozen"]
    assert (bare.method, bare.low, bare.p) == ("points", None, None) and len(bare.loop) == 2
    assert "Every run of the loop lies above those that do not learn." in two.sentence


def test_an_unfinished_run_has_no_verdict_before_its_end():
    rates = {"loop": 0.5, "frozen": 0.1}
    found = verdict_on(*made(1, rates, done={"loop": 12, "frozen": 9}))
    assert found.as_of == 9 and not found.positive and found.windows["frozen"] == [7, 8, 9]
    assert found.headline.startswith("As of cycle 9 of 22: no verdict before the end; so far the loop is ahead of")
    waiting = verdict_on(*made(1, rates, done={"loop": 3, "frozen": 0}))
    assert (waiting.kind, waiting.as_of) == ("no_control", 3)
    assert "cannot be answered yet: the chain that does not learn has no finished cycle" in waiting.headline
    assert waiting.next == found.next == "Next: let the run go on to its end."
    late = verdict_on(*made(1, rates, done={"loop": CYCLES, "frozen": 0}))
    assert late.headline.startswith("Cannot be answered yet: the chain that does not learn")
    empty = verdict_on(*made(1, rates, done={"loop": 0, "frozen": 0}))
    assert (empty.kind, empty.sentence) == ("nothing", "")


def test_over_runs_it_is_welchs_test_and_holms_adjustment():
    rng = np.random.default_rng(5)
    loop, control = (rng.integers(20, 90, (4, 3, 2)).astype(float) for _ in range(2))
    loop[:, :, 1] = control[:, :, 1] = 100
    each = contrasts({"a": loop}, {"a": control}, 100, 1)["a"]
    values = [side[:, :, 0].sum(axis=1) / 3 for side in (loop, control)]
    test = stats.ttest_ind(*values, equal_var=False)
    assert each.loop == pytest.approx(values[0]) and each.p == pytest.approx(test.pvalue)
    assert (each.low, each.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    adjusted = holm({"x": 0.01, "y": 0.04, "z": 0.03})
    assert adjusted == pytest.approx({"x": 0.03, "z": 0.06, "y": 0.06})


def test_runs_that_are_all_alike_are_no_surer_than_chance_allows():
    cells = np.tile(np.array([[0.0, 50.0]]), (3, 2, 1))
    more = cells + [[[1.0, 0.0]]]
    each = contrasts({"a": more}, {"a": cells}, 100, 1)["a"]
    assert each.difference == 2.0 and not each.told_apart


def test_of_one_run_the_interval_is_over_blocks_of_cycles_and_needs_four():
    rng = np.random.default_rng(2)
    loop, control = (np.stack([rng.binomial(100, share, 40), np.full(40, 100)], -1)[None] for share in (0.5, 0.2))
    each = contrasts({"a": loop.astype(float)}, {"a": control.astype(float)}, 2000, 1)["a"]
    error = 100 * (0.5 * 0.5 / 4000 + 0.2 * 0.8 / 4000) ** 0.5
    assert (each.high - each.low) / 2 == pytest.approx(1.96 * error, rel=0.5)
    assert each.method == "cycles" and each.low < 30 < each.high
    few = contrasts({"a": loop[:, :3].astype(float)}, {"a": control[:, :3].astype(float)}, 50, 1)["a"]
    assert few.method == "points"


def test_the_window_is_the_last_third_of_the_common_cycles():
    assert window(list(range(1, 23)), 0.3333) == list(range(16, 23))
    assert window([1, 2, 3], 0.3333) == [3] and window([1], 0.3333) == [1] and window([], 0.3333) == []


def plan(whole: dict) -> Results:
    """Return results without files: the chains of complete settings."""
    empty = pl.DataFrame()
    chains = {}
    for name, chain in whole["chains"].items():
        if name != "seed":
            chains[name] = Chain(chain["dataset"], chain["start"], chain["source"], chain["cycles"], cycles=[])
    return Results(None, whole, chains, [], empty, empty, [], {}, {})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("config", "ablations"), {"frozen": "frozen", "fixed": "fixed", "random": "random"}),
        (("study",), {"frozen": "frozen", "fixed": "fixed", "random": "random"}),
        (("controls",), {"frozen": "frozen", "fixed": "fixed", "random": "random"}),
    ],
)
def test_controls_are_known_by_what_they_are_set_to_and_not_by_their_names(files, expected):
    results = plan(complete(shipped(*(f"{name}.yaml" for name in files))))
    loop = loop_of(results, "main")
    assert loop[0] == "main"
    found = controls_of(results, loop, ["frozen", "fixed", "random"])
    assert {role: names[0] for role, names in found.items()} == expected
    assert all(len(names) == len(loop) for names in found.values())
    assert list(controls_of(results, loop, ["random"])) == ["random"]


def test_a_chain_that_differs_in_something_else_too_is_no_control():
    own = {"dataset": "cifar10", "cycles": 3}
    still = {"finetuning": {"train_on": "none"}}
    chains = {"main": own, "hot": own | still | {"generation": {"temperature": 0.9}}, "bare": own | still}
    chains["bare"] |= {"start": "base"}
    chains |= {"easy": own | {"source": "families", "admission": {"threshold": 0.1}}, "svhn": own | still}
    chains["svhn"] |= {"dataset": "svhn"}
    results = plan(settings_of(chains))
    assert controls_of(results, ["main"], ["frozen", "fixed", "random"]) == {}
    assert loop_of(results, "nobody") == ["main"]


@pytest.mark.parametrize("number", range(40))
def test_an_interval_leaves_out_0_exactly_where_the_adjusted_test_shows_a_difference(number):
    rates = {"loop": 0.35, "frozen": 0.15, "fixed": 0.28, "random": 0.45}
    for each in verdict_on(*made(number, rates)).contrasts.values():
        assert (each.low > 0 or each.high < 0) == each.told_apart


def test_the_headline_says_what_random_search_did_and_whether_that_is_shown():
    def beside(random: list[int], loop: list[int], done: int = 1) -> str:
        sides = {"loop": loop, "frozen": [40, 42, 38], "random": random}
        rows = [(f"{role}_{run}", 1, 100, value) for role, values in sides.items() for run, value in enumerate(values)]
        counts = pl.DataFrame(rows, ["chain", "cycle", "candidates", "new_good"], orient="row")
        groups = {role: [f"{role}_{run}" for run in range(3)] for role in sides}
        return verdict_on(counts, groups, cycles=done).beside

    far = beside([62, 90, 73], [33, 50, 40])
    assert far.startswith(
        "Random search makes 34 more per 100, in every pair of runs; that does not hold after Holm's adjustment"
    )
    near = beside([42, 50, 34], [33, 50, 40])
    assert "on average, not in every pair of runs; that does not hold" in near
    assert "in every pair of runs; that holds after" in beside([80, 82, 81], [41, 40, 42])
    assert "fewer per 100, in every pair of runs; that holds" in beside([1, 2, 1], [41, 40, 42])
    assert beside([62, 90, 73], [33, 50, 40], done=2) == "So far random search makes 34 more per 100."
