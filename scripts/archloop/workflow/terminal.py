"""A run ends with its terminal.

Snakemake may wait for ever when nobody reads what it prints, and hold the lock.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

OUTPUT, ERRORS = 1, 2


def end_with_terminal(log: Callable[[str], None]) -> None:
    """Interrupt the calling process and its jobs, as Ctrl-C does, once its output goes nowhere.

    That is a pipe whose reader has ended, or a terminal that was closed; files stay. log: is given
    one line about it, when nothing is printed there any more.
    """
    watched = select.poll()
    for descriptor in (OUTPUT, ERRORS):
        with contextlib.suppress(OSError):  # closed from the start
            os.fstat(descriptor)
            watched.register(descriptor, 0)  # that the other side has ended is told unasked
    threading.Thread(target=_wait, args=(watched, log), daemon=True).start()


def _wait(watched: select.poll, log: Callable[[str], None]) -> None:
    import psutil

    watched.poll()
    with open(os.devnull, "wb") as nowhere:
        for descriptor in (OUTPUT, ERRORS):
            os.dup2(nowhere.fileno(), descriptor)
    log("What read the output of this run is gone, so it ends; the same command goes on")

    this = psutil.Process()
    for job in this.children(recursive=True):
        _send(job, signal.SIGINT)
    # A shell that starts a run in the background has it ignore interrupts.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    _send(this, signal.SIGTERM if ignored else signal.SIGINT)


def _send(process: "psutil.Process", number: signal.Signals) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
