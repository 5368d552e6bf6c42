"""The live page: what it says of a run at work, of a broken folder, and that no cycle fails for it."""

import base64
import fcntl
import os
import shutil
import subprocess
import sys
import time

import pytest
from browser import browser, needs_chromium
from synthetic_results import settings, write_results

from archloop.files import read_json, write_json
from archloop.monitoring import live_page
from archloop.monitoring.chain_order import in_order, roles
from archloop.monitoring.job_states import log_of
from archloop.monitoring.live import gather
from archloop.monitoring.live_cycles import LiveCycle, collapse
from archloop.monitoring.live_jobs import failures_of_run, is_held
from archloop.monitoring.live_page import write_beside, write_page
from archloop.monitoring.status import status
from archloop.settings.planned_files import plan
from archloop.workflow.code_digest import code_digest

CHAINS = {
    "bare": {"dataset": "cifar10", "cycles": 2, "start": "base", "finetuning": {"train_on": "none"}},
    "frozen": {"dataset": "cifar10", "cycles": 2, "finetuning": {"train_on": "none"}},
    "main": {"dataset": "cifar10", "cycles": 4, "repeats": 2},
    "random": {"dataset": "cifar10", "cycles": 2, "source": "families"},
}
STAMP = "[Fri Nov 27 01:49:52 2026]"
LOG = f"""  Host: elsewhere
Select jobs to execute...
{STAMP}
Error in rule evaluate:
    message: SLURM-job '47' failed, SLURM status is: 'TIMEOUT'
    jobid: 1
    output: results/main/cycle-3/evaluated/1.json
    log: logs/main/cycle-3/evaluate-1.log, /nowhere/47.log (check log file(s) for error details)
    shell:
        log: no field
Trying to restart job 1.
{STAMP}
Finished jobid: 1 (Rule: evaluate)
{STAMP}
Error in rule finetune:
    message: None
    jobid: 2
    output: results/main_s2/cycle-2/adapter/adapter_model.safetensors
    log: logs/main_s2/cycle-2/finetune.log (check log file(s) for error details)
"""
BROKEN_LOSS = "finetuning: step 5 of 90: the loss or its gradient is no finite number; lower <b>it</b>"


def mark(top, output: str) -> None:
    """Leave the mark that Snakemake leaves of a job that it has begun, ten seconds old."""
    path = top / ".snakemake" / "incomplete" / base64.urlsafe_b64encode(output.encode()).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - 10,) * 2)


def write_log(top, text: str = LOG) -> None:
    path = top / ".snakemake" / "log" / "2026-11-27T014952.1.snakemake.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """main judges its third cycle (one shard of eight done, one at work, two queued); main_s2 lost its second."""
    tmp_path = tmp_path_factory.mktemp("written")
    whole = settings(CHAINS, cycle={"candidates": 24, "shards": 8})
    results, logs = tmp_path / "results", tmp_path / "logs"
    write_results(results, whole, 24, unfinished={"main": 2, "main_s2": 1, "bare": 0, "random": 2})
    for job in plan(results, whole):
        summary = results / job.chain / f"cycle-{job.cycle}" / "summary.json"
        if job.stage not in ("export", "report") and (job.chain == "seed" or summary.is_file()):
            write_json(job.path, {}) if not job.path.exists() else None
            log_of(job, logs).parent.mkdir(parents=True, exist_ok=True)
            log_of(job, logs).with_suffix(".tsv").write_text("s\th:m:s\n3600.0\t1:00:00\n")
    for chain, cycle in (("main", 3), ("main_s2", 2)):
        for job in plan(results, whole):
            if (job.chain, job.cycle) == (chain, cycle) and job.stage in ("write_prompts", "generate"):
                write_json(job.path, {})
    outcomes = ["trained"] * 2 + ["forward"] * 20
    records = [{"outcome": outcome, "graph": {"digest": str(at)}} for at, outcome in enumerate(outcomes)]
    write_json(results / "main" / "cycle-3" / "evaluated" / "0.json", {"records": records})
    (logs / "main" / "cycle-3").mkdir()
    (logs / "main" / "cycle-3" / "evaluate-1.log").write_text("at work\n")
    (logs / "main_s2" / "cycle-2").mkdir()
    (logs / "main_s2" / "cycle-2" / "finetune.log").write_text(f"2026 x\nERROR: {BROKEN_LOSS}\n")
    write_log(tmp_path)
    return tmp_path


@pytest.fixture
def run(written, tmp_path):
    """A copy of it, whose marks are ten seconds old, for a test to change."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    for shard in (1, 2, 3):
        mark(tmp_path, f"results/main/cycle-3/evaluated/{shard}.json")
    (tmp_path / "logs" / "main" / "cycle-3" / "evaluate-1.log").touch()
    return tmp_path / "results"


def look(results, **more):
    return gather(results, results.parent / "logs", **more)


def test_jobs_are_done_running_queued_and_failed(run):
    live = look(run)
    assert (live.jobs["running"], live.jobs["queued"], live.jobs["failed"]) == (1, 2, 1)
    assert [cycle.state for cycle in live.chains["main"]] == ["done", "done", "running", "waiting"]
    assert live.chains["main"][2].stage == "evaluate, 1 of 8"
    assert live.chains["main_s2"][1].state == "failed" and live.chains["main_s2"][1].stage == "finetune"


def test_without_a_run_at_work_begun_jobs_were_cut(run):
    write_log(run.parent, LOG.replace("elsewhere", os.uname().nodename))
    live = look(run)
    assert live.records.at_work is False and live.jobs["cut"] == 3 and not live.jobs["running"]


def test_a_run_that_ends_is_not_at_work_though_its_lock_is_held(run):
    with open(run / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert look(run).records.at_work is True
        write_page(run, run.parent / "logs", run / "live.html", ended=True)
    assert "not at work now" in (run / "live.html").read_text()


def test_chains_come_as_one_reads_them_and_the_controls_are_known(run):
    live = look(run)
    assert list(live.chains) == ["seed", "main", "main_s2", "frozen", "bare", "random"]
    found = roles(read_json(run / "settings.json"))
    assert found == {"main": ["main", "main_s2"], "frozen": ["frozen"], "random": ["random"]}


def test_the_control_that_does_not_learn_comes_before_the_one_that_learns_from_the_seed_corpus():
    fixed = CHAINS["main"] | {"finetuning": {"train_on": "seed_corpus"}, "repeats": 1}
    whole = settings({"a_fixed": fixed, "frozen": CHAINS["frozen"], "main": CHAINS["main"], "random": CHAINS["random"]})
    assert in_order(whole) == ["seed", "main", "main_s2", "frozen", "a_fixed", "random"]


def test_controls_come_in_the_order_of_the_reports_setting():
    chains = {name: CHAINS[name] for name in ("main", "frozen", "random")}
    chains["fixed"] = CHAINS["main"] | {"finetuning": {"train_on": "seed_corpus"}, "repeats": 1}
    whole = settings(chains, report={"controls": ["fixed", "frozen"]})
    assert in_order(whole) == ["seed", "main", "main_s2", "fixed", "frozen", "random"]


def test_a_chain_that_differs_in_something_else_is_no_control_here_either():
    hot = CHAINS["frozen"] | {"generation": {"temperature": 1.5}}
    easy = CHAINS["random"] | {"admission": {"threshold": 0.1}}
    found = roles(settings({"main": CHAINS["main"], "a_hot": hot, "a_easy": easy, "frozen": CHAINS["frozen"]}))
    assert found == {"main": ["main", "main_s2"], "frozen": ["frozen"]}


def test_the_yield_of_a_group_is_the_mean_of_its_runs(run):
    folders = [run / chain / "cycle-1" / "summary.json" for chain in ("main", "main_s2")]
    shares = [read_json(path)["yield"]["share"] for path in folders]
    assert look(run).yields["main"][1] == pytest.approx(100 * sum(shares) / 2)


def test_hours_add_up_over_jobs(run):
    live = look(run)
    assert sum(live.hours.values()) == len(list((run.parent / "logs").glob("**/*.tsv")))
    assert live.hours_planned > sum(live.hours.values())
    assert live.reused[0] == 3 * 7 and live.reused[1] == 24 * 7  # three in each of the seven finished cycles


def test_failed_attempts_have_their_reason_log_and_fate(run):
    first, second = failures_of_run(LOG, run.parent)
    assert first.mended and first.again and first.reason.startswith("SLURM-job '47' failed")
    assert first.log == "logs/main/cycle-3/evaluate-1.log" and "at work" not in first.reason  # of the next attempt
    assert not second.again and second.reason.endswith(BROKEN_LOSS)


def test_a_lock_is_seen_without_being_taken(tmp_path):
    with open(tmp_path / "lock", "w") as held:
        assert not is_held(tmp_path / "lock")
        fcntl.flock(held, fcntl.LOCK_EX)
        assert is_held(tmp_path / "lock")


def cycle(valid: int, outcomes: dict, state: str = "done", one_graph: bool = False) -> LiveCycle:
    counts = {"forward": 0, "near_copy": 0} | outcomes
    return LiveCycle(
        1, state, counts=counts, judged=valid + sum(outcomes.values()) - counts["near_copy"], one_graph=one_graph
    )


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        ([cycle(2, {"forward": 38})], "2 of 40 programs are valid"),
        ([cycle(30, {}), cycle(12, {"forward": 14, "crashed": 14})], "30 % valid, against 100 % in the cycles before"),
        ([cycle(20, {"over_budget": 18, "crashed": 2})], "45 % fail at one check, over budget"),
        ([cycle(20, {"near_copy": 20})], "all valid programs are copies"),
        ([cycle(20, {}, "running", one_graph=True)], "all valid programs are copies"),
    ],
)
def test_a_collapse_is_said_in_words(judged, words):
    assert words in collapse(judged)


def test_a_sound_cycle_raises_no_alarm():
    assert collapse([cycle(30, {"forward": 12}), cycle(24, {"forward": 14})]) == []


def test_silence_and_a_loss_that_is_no_number_raise_alarms(run):
    with open(run / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not any("No verdict" in line for line in look(run).alarms)
        later = max(path.stat().st_mtime for path in run.glob("*/*/evaluated/0.json")) + 7260
        alarms = look(run, now=later).alarms
    assert "No verdict for 2 h 01 min." in alarms
    assert "logs/main_s2/cycle-2/finetune.log: the loss was no finite number." in alarms
    assert "main, cycle 3: 2 of 22 programs are valid." in alarms


def test_texts_of_logs_stay_text(run):
    write_page(run, run.parent / "logs", run / "live.html")
    page = (run / "live.html").read_text()
    assert "lower &lt;b&gt;it&lt;/b&gt;" in page and "<b>it" not in page


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("results/main/cycle-2/summary.json", '{"funnel": {"adm'),
        ("results/main/cycle-2/summary.json", '{"funnel": [1]}'),
        ("results/main/cycle-3/evaluated/0.json", '{"records": [{"id"'),
        ("results/main/cycle-3/evaluated/0.json", '{"records": [7]}'),
        ("results/main/cycle-2/evaluated/0.run.json", ""),
        ("logs/main/cycle-2/admit.tsv", "s\th"),
        (".snakemake/log/2026-11-28T014952.1.snakemake.log", "Select jobs to execute\nError in rule x:"),
        (".snakemake/incomplete/!!", ""),
    ],
)
def test_what_is_cut_off_or_strange_is_left_out(run, place, text):
    (run.parent / place).write_text(text)
    write_page(run, run.parent / "logs", run / "live.html")
    assert "jobs done" in (run / "live.html").read_text()


def test_of_an_empty_folder_and_one_without_settings_there_is_a_page(run, tmp_path):
    write_page(tmp_path / "none", tmp_path, tmp_path / "live.html")
    assert "nothing is known" in (tmp_path / "live.html").read_text()
    (run / "settings.json").unlink()
    write_page(run, tmp_path, run / "live.html")
    assert "<th scope='row'>main_s2</th>" in (run / "live.html").read_text()


@pytest.mark.parametrize("lost", ["cycle", "novelty", "seed_corpus", "source"])
def test_of_results_of_another_version_there_are_the_chains_in_the_page_and_in_the_terminal(run, lost, caplog):
    older = read_json(run / "settings.json")
    older.pop(lost, None)
    older["chains"]["main"].pop(lost, None)
    write_json(run / "settings.json", older)
    write_beside(run / "main" / "cycle-2" / "summary.json")
    page = (run / "live.html").read_text()
    assert "<th scope='row'>main</th>" in page and "nothing is known of what it is to do" in page
    assert "chain frozen: 2 of 2 cycles finished" in status(run, run.parent / "logs")
    assert caplog.messages == []


def test_it_links_to_the_report_and_to_the_partial_one_where_they_are(run):
    for name in ("partial", "report"):
        (run / name).mkdir(exist_ok=True)
        (run / name / "index.html").write_text("a page")
        write_page(run, run.parent / "logs", run / "live.html")
        page = (run / "live.html").read_text()
        assert "<a href='partial/index.html'>the partial report</a>" in page
        assert ("<a href='report/index.html'>the report</a>" in page) == (name == "report")


def test_a_summary_writes_the_page_of_its_own_run_alone(run, tmp_path):
    write_beside(run / "main" / "cycle-2" / "summary.json")
    assert "at work" in (run / "live.html").read_text() or "unfinished" in (run / "live.html").read_text()
    write_beside(tmp_path / "summary.json")
    assert not list(tmp_path.parent.glob("live.html"))


def test_no_cycle_fails_for_a_page_that_cannot_be_written_and_one_line_says_why(run, caplog):
    (run / live_page.NAME).mkdir()
    write_beside(run / "main" / "cycle-2" / "summary.json")
    (run / "settings.json").write_text("{")
    write_beside(run / "main" / "cycle-2" / "summary.json")
    in_the_way, broken = caplog.messages
    assert in_the_way.startswith("live.html was not written: IsADirectoryError: ")
    assert broken.startswith(f"live.html was not written: {run}/settings.json: not whole JSON")
    assert (run / live_page.NAME).is_dir() and not list(run.glob(".live*"))


def test_the_page_is_no_part_of_what_makes_a_summary(root, tmp_path):
    before = code_digest(root / "scripts" / "summarize.py")
    copy = tmp_path / "scripts"
    subprocess.run(["cp", "-r", root / "scripts", copy], check=True)
    for name in ("live", "live_cycles", "live_jobs", "live_page"):
        (copy / "archloop" / "monitoring" / f"{name}.py").write_text("X = 1\n")
    assert code_digest(copy / "summarize.py") == before


def test_it_starts_without_heavy_imports(root):
    heavy = "import sys; sys.path.insert(0, 'scripts'); import archloop.monitoring.live_page;"
    heavy += "print(sorted({'polars', 'torch', 'numpy', 'scipy', 'jinja2', 'yaml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, cwd=root).stdout == "[]\n"


@needs_chromium()
def test_it_stands_on_one_screen_and_reads_itself_again(run, tmp_path_factory):
    write_page(run, run.parent / "logs", run / "live.html")
    with browser(tmp_path_factory.mktemp("profile")) as window:
        window.open(run / "live.html", 1400)
        assert window.run("return document.documentElement.scrollHeight") <= 900
        assert window.run("return document.querySelector('[http-equiv=refresh]').content") == "60"
        assert "loss was no finite number" in window.run("return document.querySelector('[role=alert]').innerText")
        window.open(run / "live.html", 400)
        assert window.run("return document.documentElement.scrollWidth") == 400
        assert window.errors() == []
