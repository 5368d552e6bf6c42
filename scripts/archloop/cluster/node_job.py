"""A small job on a node that a run's jobs would get, whose output is waited for."""

import contextlib
import subprocess
import time
from collections.abc import Callable

from archloop.cluster.slurm import JOB_NAME, JobRequest, Reply, clean, complaint, sbatch_options
from archloop.python_command import run_module
from archloop.quantities import duration

PROBE_MB = 2500  # memory for one trial of the judge
LOG_EVERY_S = 60.0


def run_on_node(
    request: JobRequest,
    command: list[str],
    wait_s: float,
    run_s: float = 60,
    log: Callable[[str], None] = lambda text: None,
) -> Reply:
    """Run a command on a node that such a job would get and return its output.

    It asks for one GPU where the job wants any, one processor, and memory for one trial of the
    judge. It waits in the queue for about `wait_s`; then it is taken back, and `why` says so.
    log: is given a line every minute of how long it has been waiting.
    """
    small = request.copy()
    # They would go before what is asked for here.
    small.pop("mem_mb_per_cpu", None)
    small.pop("cpus_per_gpu", None)
    if request.get("gpu"):
        small["gpu"] = 1
    small["mem_mb"] = PROBE_MB
    small["threads"] = small["cpus_per_task"] = 1
    small["runtime"] = max(1, round(run_s / 60))

    srun = ["srun", "-J", JOB_NAME, "--comment=rule_preflight", "-n", "1"]
    answer = _wait_for([*srun, *sbatch_options(small), *command], wait_s + run_s, log)
    return answer or Reply(False, "", f"the queue gave no place in {duration(wait_s)}")


def _wait_for(command: list[str], timeout_s: float, log: Callable[[str], None]) -> Reply | None:
    """Return the answer of srun.

    None where there is none in time; then its request is taken back.
    """
    begun = time.monotonic()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=clean() | {"PYTHONDONTWRITEBYTECODE": "1"},
    ) as started:
        try:
            while True:
                waited = time.monotonic() - begun
                if waited >= timeout_s:
                    return None
                if waited >= LOG_EVERY_S:
                    log(
                        f"no word from a node after {duration(waited)};"
                        f" waiting up to {duration(timeout_s)}"
                    )

                # It may be called again: nothing of the output is lost.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    patience = min(LOG_EVERY_S, timeout_s - waited)
                    output, errors = started.communicate(timeout=patience)
                    return Reply(started.returncode == 0, output, complaint(errors))
        finally:
            if started.poll() is None:
                started.terminate()  # srun takes its request back
                with contextlib.suppress(subprocess.TimeoutExpired):
                    started.wait(timeout=10)
                started.kill()


def probe_command(*arguments: str) -> list[str]:
    """Return the command of the tiny job: the head's Python and code, as all jobs have them."""
    return run_module("archloop.preflight.node_probe", *arguments)
