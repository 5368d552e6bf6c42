"""How far a run is, from the files that are there: funnel so far, jobs and time left."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from synthetic_results import settings, write_results
from workflow import ROOT

from archloop.files import read_json, write_json
from archloop.monitoring.cycle_files import judged_so_far
from archloop.monitoring.live_page import write_page
from archloop.monitoring.status import durations, status, time_left
from archloop.settings.complete import complete
from archloop.settings.planned_files import plan

CHAINS = {"main": {"dataset": "cifar10", "cycles": 4}, "svhn": {"dataset": "svhn", "start": "main/2", "cycles": 3}}


@pytest.fixture
def run(tmp_path):
    """A run in its third cycle: two are finished, the third is generated and half judged, svhn has not begun."""
    whole = settings(CHAINS, cycle={"shards": 2}, seed_corpus={"shards": 1})
    results = write_results(tmp_path / "results", whole, 12, unfinished={"main": 2, "svhn": 0})
    for cycle in (1, 2):
        place = results / "main" / f"cycle-{cycle}"
        for name in ("prompts.jsonl", "generated/0.jsonl", "generated/1.jsonl", "evaluated/1.json"):
            write_json(place / name, {"records": []})
        write_json(place / "adapter" / "adapter_model.safetensors", {})
    place = results / "main" / "cycle-3"
    write_json(place / "prompts.jsonl", {})
    for shard in range(2):
        (place / "generated").mkdir(parents=True, exist_ok=True)
        (place / "generated" / f"{shard}.jsonl").write_text("{}\n" * 6)
    outcomes = [("trained", 0.5), ("trained", 0.7), ("forward", None), ("forward", None), ("timeout", None)]
    records = [{"id": str(at), "outcome": name, "accuracy": value} for at, (name, value) in enumerate(outcomes)]
    write_json(place / "evaluated" / "0.json", {"records": records})
    write_json(place / "evaluated" / "0.run.json", {"records": "no"})
    for path in ("left_out.json", "evaluated/0.json", "adapter/adapter_model.safetensors"):
        write_json(results / "seed" / path, {"records": []})
    return results


def benchmark(logs, place: str, seconds: float) -> None:
    path = logs / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t1\n")


def test_the_cycle_under_way_shows_what_is_judged_so_far(run):
    lines = status(run, run.parent / "logs").splitlines()
    assert lines[0] == "chain main: 2 of 4 cycles finished"
    header, *rows = [re.split(r"  +", line.strip()) for line in lines[2:6]]
    third = dict(zip([name for name in header if name not in ("below_threshold", "near_copy", "admitted")], rows[2]))
    assert third["cycle"] == "3 under way" and third["candidates"] == "12"
    assert (third["forward"], third["timeout"], third["valid"]) == ("2", "1", "2 of 5")
    assert (third["mean"], third["best"]) == ("60.0 %", "70.0 %")
    assert "chain svhn: 0 of 3 cycles finished" in lines


def test_jobs_left_are_those_whose_files_are_missing(run):
    # 4 of the seed, 8 a cycle (2 shards), one export a chain, the report. Done: the seed, 2 cycles, 4 of the third.
    assert "jobs: 24 of 63 done, 39 left" in status(run, run.parent / "logs")


def test_time_left_spans_from_side_by_side_to_one_after_another(run):
    logs = run.parent / "logs"
    for stage, seconds in (("write_prompts", 1), ("admit", 2), ("summarize", 2), ("finetune", 100)):
        benchmark(logs, f"main/cycle-1/{stage}.tsv", seconds)
    for stage, seconds in (("generate", 60), ("evaluate", 200)):
        benchmark(logs, f"main/cycle-1/{stage}-0.tsv", seconds)
        benchmark(logs, f"main/cycle-2/{stage}-1.tsv", seconds + 20)
    benchmark(logs, "main/export.tsv", 5)
    benchmark(logs, "report.tsv", 15)
    # A cycle side by side: 1 + 70 + 210 + 2 + 100 + 2; the third lacks its second judge and what follows.
    path_main, path_svhn = (210 + 2 + 100 + 2) + 385 + 5, 3 * 385 + 5
    one_by_one = 314 + 4 * (385 + 70 + 210) + 2 * 5 + 15
    least, most = f"{max(path_main, path_svhn) // 60} min", f"{one_by_one // 60} min"
    line = next(line for line in status(run, logs).splitlines() if line.startswith("time left"))
    assert line.startswith(f"time left: {least}") and f" to {most}" in line
    assert durations(logs)["main", "generate"] == 70


def test_the_report_alone_takes_its_own_time(run):
    benchmark(run.parent / "logs", "report.tsv", 15)
    told = read_json(run / "settings.json")
    left = [job for job in plan(run, told) if job.stage == "report"]
    assert time_left(left, told, durations(run.parent / "logs")) == "15 s"


def test_without_a_job_on_record_no_time_is_made_up(run):
    assert "time left: unknown, for no job like those left has ended yet" in status(run, run.parent / "logs")
    benchmark(run.parent / "logs", "main/cycle-1/admit.tsv", 2)
    assert "more for evaluate, export, finetune, generate, report, summarize, write_prompts, of which" in status(
        run, run.parent / "logs"
    )


def test_the_plan_is_that_of_snakemake(papers_plan, tmp_path):
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    counted = {}
    for job in plan(tmp_path, complete(config)):
        stage = job.stage + "_seed" * (job.chain == "seed" and job.stage in ("evaluate", "finetune"))
        counted[stage] = counted.get(stage, 0) + 1
    planned = dict(re.findall(r"^(\w+) +(\d+)$", papers_plan, re.MULTILINE))
    for name in ("all", "total", "prepare_model", "prepare_dataset", "preflight"):
        planned.pop(name)
    assert counted == {name: int(count) for name, count in planned.items()}


def test_it_starts_without_heavy_imports(root, run):
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "status.py"), "--results", str(run)], capture_output=True
    )
    assert done.returncode == 0
    heavy = "import sys; sys.path.insert(0, 'scripts'); import archloop.monitoring.status, archloop.workflow.cli;"
    heavy += "print(sorted({'polars', 'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, cwd=root).stdout == "[]\n"


def test_an_empty_folder_and_one_without_settings_are_no_trouble(run, tmp_path):
    assert status(tmp_path / "none", tmp_path) == f"no run has been started in {tmp_path / 'none'}/ yet"
    (run / "settings.json").unlink()
    assert "chain main: 2 of 3 cycles finished" in status(run, tmp_path)
    (run / "main" / "cycle-3" / "evaluated" / "0.json").write_text(json.dumps({"records": []})[:5])
    assert "3 under way" in status(run, tmp_path)


@pytest.mark.parametrize("strange", [7, None, {}, {"outcome": "trained", "graph": 7}])
def test_a_record_that_is_none_is_left_out_and_a_strange_graph_is_none(run, strange):
    folder = run / "main" / "cycle-3"
    whole = {"outcome": "trained", "accuracy": 0.5, "graph": {"digest": "ab"}}
    write_json(folder / "evaluated" / "0.json", {"records": [strange, whole]})
    is_record = strange not in (7, None, {})
    graphs = [candidate["graph"] for candidate in judged_so_far(folder)]
    assert graphs == [None] * is_record + ["ab"]
    assert f"{1 + is_record} of {1 + is_record}" in status(run, run.parent / "logs")


def test_of_many_chains_the_last_cycles_alone_are_shown(tmp_path):
    many = {f"chain_{letter}": {"dataset": "cifar10", "cycles": 3} for letter in "abcde"}
    results = write_results(tmp_path / "results", settings(many), 6)
    lines = [line.split() for line in status(results, tmp_path / "logs").splitlines()]
    assert [line[0] for line in lines if line and line[0] in "123"] == ["2", "3"] * 5


def test_the_terminal_and_the_page_are_of_one_plan(run, monkeypatch):
    counted = []
    monkeypatch.setattr("archloop.monitoring.status.plan", lambda *given: counted.append(given) or plan(*given))
    monkeypatch.setattr("archloop.monitoring.live.plan", lambda *given: counted.append(given) or plan(*given))
    jobs = plan(run, read_json(run / "settings.json"))
    assert "39 left" in status(run, run.parent / "logs", jobs)
    write_page(run, run.parent / "logs", run / "live.html", planned=jobs)
    assert counted == []
