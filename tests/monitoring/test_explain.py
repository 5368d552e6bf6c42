"""Why a run stopped, read from logs as Snakemake 9 and SLURM write them."""

import pytest

from archloop.monitoring.explain import explain, failed_jobs
from archloop.monitoring.live_jobs import failures_of_run

FAILED = """\
[Wed Nov 25 00:22:07 2026]
Error in rule {rule}:
    message: SLURM-job '{job}' failed, SLURM status is: 'FAILED'.
    jobid: {number}
    input: results/seed/generated/0.jsonl
    output: results/seed/evaluated/{number}.json, results/seed/evaluated/{number}.run.json
    log: {log}, {slurm} (check log file(s) for error details)
    shell:
        python scripts/evaluate.py
    external_jobid: {job}
"""
FINISHED = """\
[Wed Nov 25 00:23:07 2026]
Finished jobid: {number} (Rule: {rule})
"""


def told(tmp_path, slurm_says: str, log_says: str = "", text: str | None = None) -> list[str]:
    log, slurm, snakemake = (tmp_path / name for name in ("rule.log", "slurm.log", "snakemake.log"))
    log.write_text(log_says)
    slurm.write_text(slurm_says)
    block = FAILED.format(rule="evaluate", job=7, number=3, log=log, slurm=slurm)
    snakemake.write_text(
        "host: n1\nBuilding DAG of jobs...\n\n" + (block if text is None else text.replace("@", block))
    )
    return explain(snakemake)


def test_a_failed_job_is_named_with_its_logs(tmp_path):
    lines = told(tmp_path, "")
    assert lines[0].startswith("failed: evaluate, which makes results/seed/evaluated/3.json (SLURM job 7, 1 attempt)")
    assert lines[1:3] == [f"  log: {tmp_path}/rule.log", f"  log: {tmp_path}/slurm.log"]
    assert lines[3].startswith("  remedy: ")


def test_what_slurm_says_of_memory_and_time_becomes_a_remedy(tmp_path):
    memory = "slurmstepd: error: Job 7 exceeded memory limit (400 > 300), being killed\nCANCELLED AT 2026"
    assert told(tmp_path, memory)[0].endswith("it ran out of memory")
    assert "give evaluate more mem_mb" in told(tmp_path, memory)[-1]
    late = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-25T00:22:07 DUE TO TIME LIMIT ***"
    assert told(tmp_path, late)[0].endswith("it ran out of time")
    assert "more runtime" in told(tmp_path, late)[-1]


def test_a_scripts_own_line_is_told_and_slurms_is_not_taken_for_one(tmp_path):
    lines = told(
        tmp_path,
        "srun: error: n1: task 0: Exited with exit code 1",
        "2026-11-25 00:22:07,123 ERROR archloop.error: error: data/x: no such file\n",
    )
    assert lines[0].endswith("data/x: no such file")


def test_a_job_that_was_cancelled_is_said_to_be(tmp_path):
    assert told(tmp_path, "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026 ***")[0].endswith("it was cancelled")


def test_a_harmless_line_is_not_taken_for_the_cause(tmp_path):
    said = "W: cuda error: lazy loading\nslurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026 ***"
    assert told(tmp_path, said)[0].endswith("it was cancelled")


def test_what_python_died_of_is_told(tmp_path):
    assert told(tmp_path, "ModuleNotFoundError: No module named 'torch'")[0].endswith("No module named 'torch'")
    assert "more mem_mb" in told(tmp_path, "Traceback:\nMemoryError")[-1]


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [
        ("generate", "lower execution.cache_mb"),
        ("evaluate_seed", "lower execution.workers (a smaller evaluation.batch_size is another protocol,"),
        ("archloop_finetune_seed", "set finetuning.gradient_checkpointing: true, or lower finetuning.batch_size"),
        ("other", "take a GPU with more memory"),
    ],
)
def test_a_full_gpu_has_a_remedy_for_each_rule(tmp_path, rule, remedy):
    log = tmp_path / "rule.log"
    text = FAILED.format(rule=rule, job=7, number=3, log=log, slurm=tmp_path / "none.log")
    lines = told(tmp_path, "", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", text=text)
    assert lines[0].endswith("the GPU's memory is full")
    assert lines[-1].startswith(f"  remedy: {remedy}")


def test_of_a_job_that_says_nothing_the_last_lines_are_shown(tmp_path):
    lines = told(tmp_path, "", "".join(f"line {number}\n" for number in range(9)))
    assert lines[0].endswith("it ended without a message")
    assert lines[1:-1] == [
        f"  log: {tmp_path}/rule.log",
        *(f"    line {number}" for number in range(4, 9)),
        f"  log: {tmp_path}/slurm.log",
    ]


def test_attempts_are_counted(tmp_path):
    assert "2 attempts" in told(tmp_path, "", text="@Trying to restart job 3.\n\n@")[0]


def test_what_a_later_attempt_finished_has_not_failed(tmp_path):
    assert told(tmp_path, "", text="@" + FINISHED.format(number=3, rule="evaluate")) == []
    assert told(tmp_path, "", text="@" + FINISHED.format(number=4, rule="evaluate")) != []


REFUSED = """\
[Wed Nov 25 00:22:07 2026]
Error in rule generate:
    message: SLURM sbatch failed. The error message was 'sbatch: error: QOSMaxSubmitJobPerUserLimit
sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)'.
    sbatch call:
        sbatch --parsable --wrap="python -m snakemake"
    jobid: {number}
    output: results/main/cycle-1/generated/{number}.jsonl, results/x.json
    log: {log} (check log file(s) for error details)
Trying to restart job {number}.
"""


def test_a_message_of_several_lines_parts_no_job_from_what_it_makes(tmp_path):
    text = "".join(REFUSED.format(number=number, log=tmp_path / "rule.log") for number in (4, 5, 4))
    lines = [line for line in told(tmp_path, "", text=text) if line.startswith("failed: ")]
    why = "SLURM does not take it: Job violates accounting/QOS policy (job submit limit)"
    assert lines == [
        f"failed: generate, which makes results/main/cycle-1/generated/5.jsonl (1 attempt): {why}",
        f"failed: generate, which makes results/main/cycle-1/generated/4.jsonl (2 attempts): {why}",
    ]


def test_what_the_page_and_the_end_of_a_run_tell_of_a_log_is_one_reading(tmp_path):
    # A message may hold lines that begin at column 0, and a job that is tried again leaves two records.
    first = FAILED.format(rule="evaluate", job=7, number=3, log="a.log", slurm="b.log").replace("FAILED", "FAI\nLED")
    other = first.replace("jobid: 3", "jobid: 4") + FINISHED.format(number=4, rule="evaluate")
    text = f"{first}Trying to restart job 3.\n{first}{other}"
    (lost,) = failed_jobs(text)
    found = failures_of_run(text, tmp_path)
    assert (lost.attempts, lost.slurm, lost.rule) == (2, "7", "evaluate")
    assert [(each.job, each.again, each.mended) for each in found] == [
        ("3", True, False),
        ("3", False, False),
        ("4", False, True),
    ]
    assert all(each.log == "a.log" and "FAI LED" in each.reason for each in found)
