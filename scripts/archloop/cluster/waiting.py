"""What a run waits for at SLURM: room in the queue, a controller that is away, preempted jobs.

The executor plugin submits a job once and takes a complaint for its end: where a user may have
fewer jobs in the queue than are ready, or while slurmctld is restarted, all attempts are spent in
seconds. A job that was preempted where PreemptMode is CANCEL it waits for without end. `be_patient`
gives it other ways to call sbatch and to hear of states.
"""

import re
import shlex
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from archloop.cluster.slurm import ask

# How sbatch says that the user, the account or the cluster has too many jobs in the queue already.
FULL = re.compile(
    r"\w*(?:Max|Grp)SubmitJob\w*"
    r"|temporarily unable to accept job"
    r"|Resource temporarily unavailable"
)
# How it says that slurmctld does not answer. Some of these come when it has taken the job and could
# not say so.
AWAY = re.compile(
    r"Unable to contact slurm controller"
    r"|timed out"
    r"|Connection refused"
    r"|Zero Bytes"
    r"|standby mode"
    r"|reset by peer"
)
AGAIN_S = 20.0
# As long as a controller may be away; as long as a queue is called full in which this user has no
# job.
PATIENCE_S = 3600.0
LOOKS = 3  # at a preempted job that cannot be queued again, before it counts as failed
# What a job in the queue can be that sbatch could not say anything of.
IN_QUEUE = "--states=PENDING,CONFIGURING,RUNNING,SUSPENDED"

# Of the plugin: (command, its logger) -> (job -> state, seconds that it took).
StateQuery = Callable[[Any, Any], Awaitable[tuple[dict[str, str] | None, float]]]

given_up = threading.Event()  # set when the run is interrupted


def be_patient(plugin: Any, log: Callable[[str], None]) -> None:
    """Let the executor plugin, a module, wait. log: is given one line of what is waited for."""

    def popen(call: str, **options: Any) -> Any:
        if call.startswith("sbatch "):
            return Submission(call, log)
        return subprocess.Popen(call, **options)

    # The module's names with another Popen, for the plugin alone.
    plugin.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": popen})
    plugin.query_job_status = requeueing(plugin.query_job_status, log)
    cancel = plugin.Executor.cancel_jobs

    def cancel_jobs(self: Any, active_jobs: Any) -> None:
        given_up.set()
        cancel(self, active_jobs)

    plugin.Executor.cancel_jobs = cancel_jobs


class Submission:
    """A call of sbatch, in place of a process: its end is that SLURM takes or refuses the job.

    A full queue is waited for as long as this user has jobs in it, a controller that is away for
    an hour. log: is given one line when the waiting begins.
    """

    def __init__(self, call: str, log: Callable[[str], None]):
        self.call, self.log = call, log
        self.returncode: int | None = None

    def communicate(self, input: str | None = None) -> tuple[str, str]:
        """Return (output, complaint) of sbatch, as Popen.communicate does."""
        deadline, logged = time.monotonic() + PATIENCE_S, False
        while True:
            done = self._call(input)
            self.returncode = done.returncode
            full = FULL.search(done.stderr)
            why = full or AWAY.search(done.stderr)
            if done.returncode == 0 or why is None or given_up.is_set():
                return done.stdout, done.stderr

            # A queue with jobs of this user will have room again, however long they take.
            if full and in_queue():
                deadline = time.monotonic() + PATIENCE_S
            if time.monotonic() >= deadline:
                return done.stdout, done.stderr

            if not logged:
                what = "takes no more jobs for now" if full else "does not answer"
                self.log(f"SLURM {what} ({why[0]}); submissions wait, what runs goes on")
                logged = True
            # Nothing was taken; a controller that was away may have taken the job all the same.
            if full:
                given_up.wait(AGAIN_S)
                continue

            job = taken(self.call, deadline)
            if job is not None:
                self.returncode = 0
                return job, ""

    def _call(self, text: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.call,
            shell=True,
            text=True,
            errors="replace",
            input=text or "",
            capture_output=True,
        )


def in_queue() -> bool:
    """Return whether this user has jobs in the queue, so that there will be room."""
    answer = ask("squeue", "--me", "--noheader", "--format=%A")
    return not answer.ok or bool(answer.text.strip())


def taken(call: str, deadline: float) -> str | None:
    """Return the id of the job that a call of sbatch has left in the queue though no answer came.

    None where there is none. It is asked for until SLURM answers or the deadline (of
    time.monotonic) is there: a second submission would write the same files.
    """
    words = shlex.split(call.partition(" --wrap=")[0])
    name = words[words.index("--job-name") + 1]
    comment = words[words.index("--comment") + 1]

    while not given_up.wait(AGAIN_S) and time.monotonic() < deadline:
        answer = ask("squeue", "--me", "--noheader", f"--name={name}", IN_QUEUE, "--format=%A|%k")
        if not answer.ok:
            continue

        for line in answer.text.splitlines():
            job, _, comment_there = line.partition("|")
            if comment_there == comment:
                return job
        return None
    return None


def requeueing(query: StateQuery, log: Callable[[str], None]) -> StateQuery:
    """Return a query of the states of jobs that has preempted ones queued again.

    Where that is not allowed they count as cancelled after a few looks, and Snakemake tries them
    again.
    """
    looks: dict[str, int] = {}

    async def states_of(command: Any, logger: Any) -> tuple[dict[str, str] | None, float]:
        states, seconds = await query(command, logger)
        for job, state in list((states or {}).items()):
            if state == "PREEMPTED" and states is not None:
                states[job] = _after_preemption(job, looks, log)
        return states, seconds

    return states_of


def _after_preemption(job: str, looks: dict[str, int], log: Callable[[str], None]) -> str:
    """Return the state that a preempted job is in now. looks: job -> how often in vain."""
    if looks.get(job, 0) == LOOKS:  # another job has its place by now
        return "CANCELLED"
    if ask("scontrol", "requeue", job).ok:
        log(f"SLURM had ended job {job} for a more urgent one; it is queued again")
        return "PENDING"
    looks[job] = looks.get(job, 0) + 1
    return "PREEMPTED"
