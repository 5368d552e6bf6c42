"""The table of results: means and intervals over repeats, and the budgets, recomputed from the raw files."""

import json
import statistics

import pytest
from scipy import stats
from synthetic_results import LOOK, settings, write_results

from archloop.corpus.tables import read_candidates
from archloop.files import write_json
from archloop.outcomes import VALID
from archloop.report.groups import repeat_groups
from archloop.report.report import all_tables
from archloop.report.results import read_results

CIFAR10 = {"dataset": "cifar10", "cycles": 3}
FROZEN = {"finetuning": {"train_on": "none", "epochs": 9}}
CHAINS = {
    "main": CIFAR10 | {"repeats": 3},
    "frozen": CIFAR10 | {"repeats": 2} | FROZEN,
    "short": CIFAR10 | {"cycles": 2, "novelty": {"gate": "none"}, "cycle": {"shards": 9}},
    "bare": CIFAR10 | {"start": "base"} | FROZEN,
    "moved": {"dataset": "svhn", "start": "main/2", "cycles": 1, "repeats": 2},
    "designs": {"dataset": "svhn", "source": "main", "cycles": 1},
}
MAINS = ("main", "main_s2", "main_s3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_results(tmp_path_factory.mktemp("results") / "results", settings(CHAINS), 40)
    write_json(folder / "seed" / "adapter" / "run.json", {"device": "cuda:0", "seconds": 7.0, "tokens": 900})
    write_json(folder / "seed" / "evaluated" / "0.run.json", {"device": "cuda:0", "seconds": 5.0})
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    tables = all_tables(read_results(folder), LOOK).by_name
    return {row["chain"].split(",")[0]: row for row in tables["results"].to_dicts()}


def test_repeats_stand_together_whichever_repeat_they_start_from(folder):
    groups = repeat_groups(read_results(folder))
    assert ["main", "main_s2", "main_s3"] in groups and ["moved", "moved_s2"] in groups and len(groups) == 6


def test_intervals_are_over_runs_and_not_over_candidates(folder, rows):
    shares, means = [], []
    for chain in MAINS:
        found = read_candidates([folder / chain / f"cycle-{cycle}" / "candidates.parquet" for cycle in (1, 2, 3)])
        scores = [row["accuracy"] for row in found.iter_rows(named=True) if row["outcome"] in VALID]
        shares.append(len(scores) / found.height)
        means.append(statistics.fmean(scores))
    for name, values in (("valid", shares), ("accuracy", means)):
        low, high = stats.t.interval(0.95, 2, statistics.fmean(values), stats.sem(values))
        assert rows["main"][name] == pytest.approx(statistics.fmean(values))
        assert [rows["main"][f"{name}_low"], rows["main"][f"{name}_high"]] == pytest.approx([low, high])
    assert rows["main"]["valid_n"] == rows["main"]["repeats"] == 3
    assert rows["designs"]["valid_low"] is None, "one run has no interval over runs"
    ends = [row[f"{name}{end}"] for row in rows.values() for name in ("valid", "admitted") for end in ("_low", "_high")]
    assert all(0 <= end <= 1 for end in ends if end is not None)


def test_budgets_are_those_of_the_run_records(folder, rows):
    def seconds(chains, cycles, kinds):
        paths = [folder / chain / f"cycle-{cycle}" / kind for chain in chains for cycle in cycles for kind in kinds]
        return sum(json.loads(path.read_text())["seconds"] for path in paths)

    all_kinds = ("generated/0.run.json", "evaluated/0.run.json", "adapter/run.json")
    assert rows["main"]["gpu_seconds"] == pytest.approx(seconds(MAINS, (1, 2, 3), all_kinds) / 3)
    assert (rows["main"]["new_tokens"], rows["main"]["trained_tokens"]) == (3 * 400 * 40, 3 * 40_000)
    assert rows["frozen"]["trained_tokens"] == 0, "an adapter that an earlier run left there is none of this chain's"
    assert rows["frozen"]["gpu_seconds"] == pytest.approx(
        seconds(("frozen", "frozen_s2"), (1, 2, 3), all_kinds[:2]) / 2
    )
    before = seconds(("main", "main_s2"), (1, 2), all_kinds) / 2
    assert rows["moved"]["before_gpu_seconds"] == pytest.approx(12 + before)
    assert rows["frozen"]["before_gpu_seconds"] == 12
    assert rows["bare"]["before_gpu_seconds"] == 5, "the measured seed corpus, not the adapter"


def test_a_row_covers_the_cycles_that_its_reference_finished_too_and_says_whether_budgets_match(rows):
    assert {name: rows[name]["reference"].split(",")[0] for name in rows} == {
        "main": "main",
        "frozen": "main",
        "short": "main",
        "bare": "main",
        "designs": "moved",
        "moved": "moved",
    }
    assert rows["short"]["cycles"] == 2 and rows["short"]["candidates"] == 80
    assert rows["short"]["matched"] and rows["frozen"]["matched"]
    assert rows["short"]["differs"] == "novelty.gate none (there either)", "shards are no difference"
    assert rows["frozen"]["differs"] == "finetuning.train_on none (there corpus)"
    assert "source main (there model)" in rows["designs"]["differs"]
