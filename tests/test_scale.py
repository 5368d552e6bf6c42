"""The simulation behind docs/scaling.md, on plans whose times are known by hand."""

import pytest
from benchmark_modules import load


@pytest.fixture(scope="module")
def scale():
    return load("scale")


# Four shards generate, all of them are admitted at once, one fine-tuning follows.
RULES = {0: "generate", 1: "generate", 2: "generate", 3: "generate", 4: "admit", 5: "finetune"}
EDGES = [(0, 4), (1, 4), (2, 4), (3, 4), (4, 5)]
SECONDS = {"generate": 10.0, "admit": 1.0, "finetune": 20.0}


@pytest.mark.parametrize(("gpus", "elapsed_s"), [(1, 61), (2, 41), (3, 41), (4, 31), (64, 31)])
def test_stages_wait_for_each_other_and_shards_share_the_gpus(scale, gpus, elapsed_s):
    found = scale.simulate(RULES, EDGES, SECONDS, gpus, scale.Overhead(0, 0, 0))
    assert (found.elapsed_s, found.busy_s, found.jobs, found.queued) == (elapsed_s, 60, 6, 5)


def test_time_alone_is_that_with_one_gpu_at_work_or_none(scale):
    # Three shards at once, the fourth alone, then admit without a GPU and the fine-tuning.
    assert scale.simulate(RULES, EDGES, SECONDS, 3, scale.Overhead(0, 0, 0)).alone_s == 10 + 1 + 20


def test_overhead_counts_once_for_each_queued_job_on_the_path(scale):
    found = scale.simulate(RULES, EDGES, SECONDS, 4, scale.Overhead(before_s=100, inside_s=10, after_s=1))
    assert (found.elapsed_s, found.busy_s) == (31 + 2 * 111, 60)


def test_shards_divide_the_work_but_not_the_start(scale):
    rules = {name: {"start_s": 60, "work_s": 640} for name in ("generate", "finetune")}
    assert scale.durations({"rules": rules}, 64) == {"generate": 70, "finetune": 700, "all": 0}
