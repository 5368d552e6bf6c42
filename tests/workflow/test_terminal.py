"""A run whose terminal goes away, with the real Snakemake and a rule of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SNAKEFILE = """
import sys
sys.path.insert(0, {scripts!r})
from archloop.workflow.terminal import end_with_terminal

rule job:
    output: "made"
    shell: "{command}"

onstart:
    end_with_terminal(logger.error)
"""


@pytest.mark.parametrize(("command", "line"), [("exit 3", b"Error"), ("touch begun; sleep 600", b"rule job")])
def test_a_run_ends_when_nobody_reads_what_it_says(root, tmp_path, command, line):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(scripts=str(root / "scripts"), command=command))
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        while line not in run.stdout.readline():
            assert run.poll() is None
        while "begun" in command and not (tmp_path / "begun").exists():
            assert run.poll() is None
            time.sleep(0.1)
        jobs = psutil.Process(run.pid).children(recursive=True)
        run.stdout.close()
        assert run.wait(timeout=120) != 0
        assert psutil.wait_procs(jobs, timeout=60)[1] == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
