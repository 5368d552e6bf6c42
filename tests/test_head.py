"""profiles/slurm/head.sbatch: the Snakemake that leads a run, as a job; commands note here what they are asked."""

import os
import select
import signal
import subprocess
import sys

import pytest
from snakemake.profiles import ProfileConfigFileParser

SNAKEMAKE = """#!/bin/bash
echo "$@" > arguments
env > environment
trap 'echo INT > interrupted; exit 1' INT
echo > started
[ -z "$ENDS" ] || exit $ENDS
while :; do sleep 0.05; done
"""
INSIDE = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "4000", "SLURM_CPUS_PER_TASK": "2", "SLURM_CONF": "/etc/s.conf"}


@pytest.fixture
def head(root, tmp_path):
    """A function that starts the script in a folder of its own; it ends with the test."""
    for name, script in {"snakemake": SNAKEMAKE, "scontrol": '#!/bin/bash\necho "$@" > scontrol\n'}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    os.mkfifo(tmp_path / "started")
    started = []

    def start(*arguments, ends=""):
        environment = {**os.environ, **INSIDE, "ENDS": ends, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        command = ["bash", str(root / "profiles" / "slurm" / "head.sbatch"), *arguments]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL))
        pipe = os.open(tmp_path / "started", os.O_RDONLY | os.O_NONBLOCK)
        assert select.select([pipe], [], [], 60)[0], "the script called no snakemake"
        os.close(pipe)
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def test_near_its_time_limit_it_interrupts_snakemake_and_queues_itself_again(head, tmp_path):
    job = head()
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=30) == 1
    assert (tmp_path / "interrupted").exists()
    assert (tmp_path / "scontrol").read_text() == "requeue 7\n"


def test_cancelled_it_interrupts_snakemake_and_stays_away(head, tmp_path):
    job = head()
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 1
    assert (tmp_path / "interrupted").exists() and not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize("status", [0, 1])
def test_a_run_that_ends_by_itself_is_not_queued_again(head, tmp_path, status):
    assert head(ends=str(status)).wait(timeout=30) == status
    assert not (tmp_path / "scontrol").exists()


def test_options_go_to_snakemake_and_the_jobs_own_variables_do_not(head, tmp_path):
    assert head("--configfile", "my settings.yaml", ends="0").wait(timeout=30) == 0
    assert (tmp_path / "arguments").read_text() == "--profile slurm --configfile my settings.yaml\n"
    lines = (tmp_path / "environment").read_text().splitlines()
    assert [line for line in lines if line.startswith("SLURM_")] == ["SLURM_CONF=/etc/s.conf"]


def test_its_name_is_its_own(root):
    assert "#SBATCH --job-name=archloop-head\n" in (root / "profiles" / "slurm" / "head.sbatch").read_text()


def test_the_profiles_example_keeps_what_all_gpu_jobs_ask_for(root, tmp_path):
    text = (root / "profiles" / "slurm" / "config.yaml").read_text()
    assert text.count("  finetune: *gpu\n") == text.count("  # finetune: {") == 1
    text = text.replace("  finetune: *gpu\n", "").replace("  # finetune: {", "  finetune: {")
    text = text.replace("    # qos: normal", "    qos: normal")
    (tmp_path / "config.yaml").write_text(text)
    with (tmp_path / "config.yaml").open() as opened:
        asked = ProfileConfigFileParser().parse(opened)["set-resources"]
    wanted = {"slurm_partition=gpu", "qos=normal", "mem_mb=64000 * attempt", "runtime=720 * attempt"}
    assert wanted == {line.removeprefix("finetune:") for line in asked if line.startswith("finetune:")}


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_a_run_needs_no_home_that_can_be_written(root, tmp_path, profile):
    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'true'\n")
    command = [sys.executable, "-m", "snakemake", "--profile", str(root / "profiles" / profile), "--dry-run"]
    environment = os.environ | {"HOME": "/proc/nowhere"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
