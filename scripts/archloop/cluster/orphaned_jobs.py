"""Jobs that an earlier run left at SLURM: its Snakemake was killed, and they live on and write.

Nothing may write a file while a job of an earlier run still does. So they are ended before the first job is queued;
what they had finished is kept in results/evaluations and results/state, and the new jobs go on from there.
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
    """End the jobs of this user that an earlier run in `folder` has queued; return their ids once SLURM has let go.

    The caller holds the lock of results/, so no other run is alive there. Without SLURM there is nothing to do. Raises
    InputError when SLURM does not answer within answer_s seconds, or a job does not end within patience_s seconds.
    """
    if shutil.which("squeue") is None:
        return []
    ids = _jobs_of(folder, answer_s)
    if not ids:
        return []
    _ask(answer_s, "scancel", *ids)
    end = time.monotonic() + patience_s
    while left := sorted(set(_jobs_of(folder, answer_s)) & set(ids)):
        if time.monotonic() > end:
            raise InputError(
                f"SLURM does not end the jobs {', '.join(left)} of an earlier run; scancel them and go on"
            )
        time.sleep(1)
    return ids


def _jobs_of(folder: Path, answer_s: float) -> list[str]:
    lines = _ask(answer_s, "squeue", "--me", "--noheader", "--format=%A|%j|%Z").splitlines()
    jobs = [line.split("|", 2) for line in lines if line.count("|") >= 2]
    here = os.path.realpath(folder)
    return sorted(
        {
            job
            for job, name, place in jobs
            if name.startswith(PREFIX) and os.path.realpath(place) == here
        }
    )


def _ask(answer_s: float, *command: str) -> str:
    """Return what a command of SLURM prints; for answer_s it is asked again: a controller may be being restarted."""
    end = time.monotonic() + answer_s
    while not (answer := ask(*command)).ok:
        if time.monotonic() >= end:
            raise InputError(f"SLURM: {command[0]}: {answer.why}; try again later")
        time.sleep(5)
    return answer.text
