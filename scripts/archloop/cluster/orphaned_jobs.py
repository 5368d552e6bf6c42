"""Jobs that an earlier run left at SLURM: its Snakemake was killed, and they live on and write.

Nothing may write a file while a job of an earlier run still does. So they are ended before the
first job is queued; what they had finished is kept in results/evaluations and results/state, and
the new jobs go on from there.
"""

import os
import shutil
import time
from pathlib import Path

from archloop.cluster.slurm import ask
from archloop.errors import InputError

# What profiles/slurm/config.yaml puts before the name of every job (slurm-jobname-prefix).
PREFIX = "archloop_"


def end_orphans(folder: Path, patience_s: float = 300, answer_s: float = 60) -> list[str]:
    """End the jobs of this user that an earlier run in `folder` has queued.

    Returns their ids once SLURM has let go. The caller holds the lock of results/, so no other run
    is alive there. Without SLURM there is nothing to do. Raises InputError when SLURM does not
    answer within answer_s seconds, or a job does not end within patience_s seconds.
    """
    if shutil.which("squeue") is None:
        return []
    ids = _jobs_of(folder, answer_s)
    if not ids:
        return []

    _ask(answer_s, "scancel", *ids)
    deadline = time.monotonic() + patience_s
    while True:
        left = [job for job in _jobs_of(folder, answer_s) if job in ids]
        if not left:
            return ids
        if time.monotonic() > deadline:
            raise InputError(
                f"SLURM does not end the jobs {', '.join(left)} of an earlier run;"
                " scancel them and go on"
            )
        time.sleep(1)


def _jobs_of(folder: Path, answer_s: float) -> list[str]:
    """Return the ids of this user's jobs that were queued in a folder, sorted."""
    here = os.path.realpath(folder)
    ids = set()
    for line in _ask(answer_s, "squeue", "--me", "--noheader", "--format=%A|%j|%Z").splitlines():
        fields = line.split("|", 2)  # a folder's name may hold the separator, so it comes last
        if len(fields) == 3:
            job, name, working_folder = fields
            if name.startswith(PREFIX) and os.path.realpath(working_folder) == here:
                ids.add(job)
    return sorted(ids)


def _ask(answer_s: float, *command: str) -> str:
    """Return what a command of SLURM prints.

    For answer_s seconds it is asked again: a controller may be being restarted.
    """
    deadline = time.monotonic() + answer_s
    while True:
        answer = ask(*command)
        if answer.ok:
            return answer.text
        if time.monotonic() >= deadline:
            raise InputError(f"SLURM: {command[0]}: {answer.why}; try again later")
        time.sleep(5)
