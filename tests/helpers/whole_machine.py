"""A lock between test runs of one user: who changes the machine does not meet who looks for what is left on it."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def changing_it() -> Iterator[None]:
    """Be alone on the machine, with a cluster of its own; wait for whoever is not done."""
    with _locked(fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def looking_at_it() -> Iterator[None]:
    """Look at mounts, processes and shared folders, beside others who look; wait for whoever changes them."""
    with _locked(fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _locked(how: int) -> Iterator[None]:
    with open(Path(tempfile.gettempdir()) / f"archloop-tests-{os.geteuid()}.lock", "a") as lock:
        fcntl.flock(lock, how)
        yield
