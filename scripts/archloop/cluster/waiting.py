"""What a run waits for at SLURM: room in the queue, a controller that is away, jobs that were preempted for good.

The executor plugin submits a job once and takes a complaint for its end: where a user may have fewer jobs in the queue
than are ready, or while slurmctld is restarted, all attempts are spent in seconds. A job that was preempted where
PreemptMode is CANCEL it waits for without end. `be_patient` gives it other ways to call sbatch and to hear of states.
"""

import re
import shlex
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from types import ModuleType, SimpleNamespace

from archloop.cluster.slurm import ask

# How sbatch says that the user, the account or the cluster has too many jobs in the queue already.
FULL = re.compile(
    r"\w*(?:Max|Grp)SubmitJob\w*|temporarily unable to accept job|Resource temporarily unavailable"
)
# How it says that slurmctld does not answer. Some of these come when it has taken the job and could not say so.
AWAY = re.compile(
    r"Unable to contact slurm controller|timed out|Connection refused|Zero Bytes|standby mode|reset by peer"
)
AGAIN_S = 20.0
# As long as a controller may be away; as long as a queue is called full in which this user has no job.
PATIENCE_S = 3600.0
LOOKS = 3  # at a preempted job that cannot be queued again, before it counts as failed

given_up = threading.Event()  # set when the run is interrupted


def be_patient(plugin: ModuleType, say: Callable[[str], None]) -> None:
    """Let the executor plugin wait; say: is told once of what is waited for."""

    def popen(call: str, **options: object):
        if not call.startswith("sbatch "):
            return subprocess.Popen(call, **options)
        submission = SimpleNamespace(returncode=None)
        submission.communicate = lambda input=None: submit(call, input, say, submission)
        return submission

    plugin.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": popen})
    plugin.query_job_status = requeueing(plugin.query_job_status, say)
    cancel = plugin.Executor.cancel_jobs

    def cancel_jobs(self, active_jobs):
        given_up.set()
        cancel(self, active_jobs)

    plugin.Executor.cancel_jobs = cancel_jobs


def submit(
    call: str, text: str | None, say: Callable[[str], None], submission: SimpleNamespace
) -> tuple[str, str]:
    """Return (output, complaint) of a call of sbatch, as Popen.communicate does, once SLURM takes or refuses the job.

    text: its input. submission: gets the `returncode`. A full queue is waited for as long as this user has jobs in it,
    a controller that is away for an hour.
    """
    end, told = time.monotonic() + PATIENCE_S, False
    while True:
        done = subprocess.run(
            call, shell=True, text=True, errors="replace", input=text or "", capture_output=True
        )
        submission.returncode = done.returncode
        full, away = FULL.search(done.stderr), AWAY.search(done.stderr)
        if done.returncode == 0 or not (full or away) or given_up.is_set():
            return done.stdout, done.stderr
        if full and in_queue():
            end = time.monotonic() + PATIENCE_S
        if time.monotonic() >= end:
            return done.stdout, done.stderr
        if not told:
            why = full or away
            what = "takes no more jobs for now" if full else "does not answer"
            say(f"SLURM {what} ({why[0]}); submissions wait, what runs goes on")
            told = True
        if full:
            given_up.wait(AGAIN_S)
        elif job := taken(call, end):
            submission.returncode = 0
            return job, ""


def in_queue() -> bool:
    """Tell whether this user has jobs in the queue, so that there will be room."""
    answer = ask("squeue", "--me", "--noheader", "--format=%A")
    return not answer.ok or bool(answer.text.strip())


def taken(call: str, end: float) -> str | None:
    """Return the id of the job that a call of sbatch has left in the queue though no answer came, None without one.

    It is asked for until SLURM answers or the time `end` is there: a second submission would write the same files.
    """
    words = shlex.split(call.partition(" --wrap=")[0])
    name, comment = (words[words.index(option) + 1] for option in ("--job-name", "--comment"))
    states = "--states=PENDING,CONFIGURING,RUNNING,SUSPENDED"
    while not given_up.wait(AGAIN_S) and time.monotonic() < end:
        answer = ask("squeue", "--me", "--noheader", f"--name={name}", states, "--format=%A|%k")
        if answer.ok:
            jobs = [line.split("|", 1) for line in answer.text.splitlines() if "|" in line]
            return next((job for job, said in jobs if said == comment), None)
    return None


def requeueing(
    query: Callable[..., Awaitable], say: Callable[[str], None]
) -> Callable[..., Awaitable]:
    """Return a query of the states of jobs that has those queued again that were preempted for good.

    Where that is not allowed they count as cancelled after a few looks, and Snakemake tries them again.
    """
    looks: dict[str, int] = {}

    async def states_of(command: str, logger) -> tuple:
        states, seconds = await query(command, logger)
        for job in [job for job, state in (states or {}).items() if state == "PREEMPTED"]:
            if looks.get(job, 0) == LOOKS:  # another job has its place by now
                states[job] = "CANCELLED"
            elif ask("scontrol", "requeue", job).ok:
                states[job] = "PENDING"
                say(f"SLURM had ended job {job} for a more urgent one; it is queued again")
            else:
                looks[job] = looks.get(job, 0) + 1
        return states, seconds

    return states_of
