"""Jobs that an earlier run left at SLURM: its Snakemake was killed, and they live on and write.

Nothing may write a file while a job of an earlier run still does. So they are ended before the first job is queued;
what they had finished is kept in results/evaluations and results/state, and the new jobs go on from there.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from archloop.errors import InputError

# What profiles/slurm/config.yaml puts before the name of every job (slurm-jobname-prefix).
PREFIX = "archloop_"


def end_orphans(folder: Path, patience_s: float = 300) -> list[str]:
    """End the jobs of this user that an earlier run in `folder` has queued; return their ids once SLURM has let go.

    The caller holds the lock of results/, so no other run is alive there. Without SLURM there is nothing to do. Raises
    InputError when SLURM does not answer or a job does not end within patience_s seconds.
    """
    if shutil.which("squeue") is None:
        return []
    ids = _jobs_of(folder)
    if not ids:
        return []
    _ask("scancel", *ids)
    end = time.monotonic() + patience_s
    while left := sorted(set(_jobs_of(folder)) & set(ids)):
        if time.monotonic() > end:
            raise InputError(f"SLURM does not end the jobs {', '.join(left)} of an earlier run; scancel them and go on")
        time.sleep(1)
    return ids


def _jobs_of(folder: Path) -> list[str]:
    lines = _ask("squeue", "--me", "--noheader", "--format=%A|%j|%Z").splitlines()
    jobs = [line.split("|", 2) for line in lines if line.count("|") >= 2]
    here = os.path.realpath(folder)
    return sorted({job for job, name, place in jobs if name.startswith(PREFIX) and os.path.realpath(place) == here})


def _ask(*command: str) -> str:
    """Return what a command of SLURM prints; it has a minute, for a controller that is being restarted."""
    end = time.monotonic() + 60
    while True:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return done.stdout
        if time.monotonic() > end:
            raise InputError(f"SLURM: {command[0]}: {' '.join(done.stderr.split()) or 'no answer'}; try again later")
        time.sleep(5)
