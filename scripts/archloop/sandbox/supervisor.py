"""The supervisor of one candidate, a trusted process: it starts the candidate's, watches it and
reports its end.

It knows nothing of what the candidate does: that is a function which it is handed. It watches time,
memory, threads, the scratch folder and the share of a card, and it ends the candidate when a limit
is broken.
"""

import contextlib
import json
import os
import re
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, NoReturn

from archloop import site_limits
from archloop.errors import kind_and_line
from archloop.sandbox import gpu_memory, isolation, namespaces
from archloop.sandbox.orders import CardShare, Ended, Order, SupervisorReport
from archloop.site_limits import Rlimits

LOOK_EVERY_S = 0.05
# The kernel holds the limit of processor time by its ticks, which may run ahead of what it reports.
TICKS_AHEAD_S = 0.5
# How long a candidate's process may take to stand in its sandbox, the start of a GPU included, in
# seconds.
START_S = 180
# Threads, and in kB all memory that is the process's own, swapped out or not; files that it maps do
# not count.
NUMBERS = re.compile(rb"^(Threads|RssAnon|RssShmem|VmSwap|HugetlbPages):\s*(\d+)", re.MULTILINE)

# What a candidate's process goes through before it reads a program, as a message names it.
SANDBOX = "the sandbox"
THREADS = "the threads"
DEVICE = "the start of the device"
CLOSING = "the closing of the sandbox"
AGAIN = "a training step in the closed sandbox"
BEGINNING = "the start of the candidate's process"
OTHER_LEVEL = "set execution.isolation to another level, or take another node"
# What it writes while it does, a line each: the step that it begins, or that it is refused; at
# last, its limits.
STEP, REFUSED = b"step ", b"refused "

SHARED = "what a candidate holds on a card that it shares is not measured"
OWN_CARD = "set execution.workers to auto"

# What gives the MB that the candidate holds on its card, None where it has no share of one.
Meter = Callable[[], int | None]
# What a candidate does, in a process of its own: it never returns. It is called with two
# descriptors: where its steps go (see `announce`), and where the word comes from that it may begin.
CandidateProcess = Callable[[int, int], None]


def supervise(
    order: Order, inherited: list[int], report: int, candidate: CandidateProcess
) -> NoReturn:
    """Be the supervisor of a candidate, and end. Called in a process of its own.

    inherited: descriptors that are the candidate's. report: where the SupervisorReport goes.
    candidate: called in the candidate's process.
    """
    seen = SupervisorReport()
    try:
        # The fork server ignores it, and then a process cannot be waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        isolation.die_with_parent()
        seen = _start_and_watch(order, inherited, candidate)
    except BaseException as error:
        seen = SupervisorReport(error=f"{type(error).__name__}: {error}")
    finally:
        send(report, seen)
        os._exit(0)


def send(descriptor: int, report: SupervisorReport) -> None:
    """Write a report; nobody need be there to read it."""
    with contextlib.suppress(OSError):
        os.write(descriptor, report.to_json())


def no_process(error: OSError) -> str:
    """Return, for a message, why no process can be started, with what to do."""
    return (
        f"the machine starts no process more ({error.strerror}; {site_limits.of_processes()}): "
        "raise the limit on processes (ulimit -u, or that of the container, job or login node), "
        "or set execution.workers lower"
    )


def _start_and_watch(
    order: Order, inherited: list[int], candidate: CandidateProcess
) -> SupervisorReport:
    if order.level == "namespaces":
        namespaces.leave()
    wanted = isolation.candidate_limits(order.bounds, order.level, order.gpu)
    lower = site_limits.shortfalls(wanted)
    if lower:
        return SupervisorReport(error="; ".join(lower))

    before_s = time.process_time()
    try:
        child, steps, go = _fork(inherited, candidate)
    except isolation.Refused as error:
        return SupervisorReport(error=str(error))
    try:
        running = _let_in(child, steps, go, order)
    except (OSError, isolation.Refused) as error:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return SupervisorReport(error=_why_not_started(error))

    begun = time.monotonic()
    ended = _watch_to_the_end(running, order, begun)
    # Of a namespace's first process: all others in it have ended, too.
    _, code, usage = os.wait4(child, 0)
    used_s = usage.ru_utime + usage.ru_stime
    if code == signal.SIGKILL and not ended:
        ended = _out_of_processor_time(used_s, running.limits["RLIMIT_CPU"])

    own_s = time.process_time() - before_s
    return SupervisorReport(
        ended=ended,
        status=os.waitstatus_to_exitcode(code),
        cpu_s=round(used_s + own_s, 3),
        elapsed_s=round(time.monotonic() - begun, 3),
        peak_mb=usage.ru_maxrss // 1024,
        limits=running.limits,
    )


def _fork(inherited: list[int], candidate: CandidateProcess) -> tuple[int, int, int]:
    """Start the candidate's process, which waits for a word.

    Return (its number, where its steps are read, where the word goes). Raises Refused where the
    machine starts no process.
    """
    steps, announced = os.pipe()
    wait, go = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        raise isolation.Refused(no_process(error)) from None
    if child == 0:
        try:
            os.close(steps)
            os.close(go)
            candidate(announced, wait)
        finally:
            os._exit(1)

    # Here they would keep the other side from seeing the candidate's end.
    for descriptor in (announced, wait, *inherited):
        os.close(descriptor)
    return child, steps, go


@dataclass(frozen=True)
class _Running:
    """A candidate's process that stands in its sandbox. status: its /proc/PID/status."""

    process: int
    status: IO[bytes]
    meter: Meter  # of its memory on a card
    limits: Rlimits  # RLIMIT_* that hold for it


def _let_in(child: int, steps: int, go: int, order: Order) -> _Running:
    """Let the candidate go into its sandbox, and wait until that stands.

    Raises Refused where it does not stand, and OSError where /proc does not show the candidate.
    """
    # Before the candidate hides itself: /proc may show a user's own processes alone (hidepid).
    status = open(f"/proc/{child}/status", "rb", buffering=0)  # noqa: SIM115 (it stays open)
    meter = _meter(order.card, child)
    os.write(go, b"1")

    limits = await_sandbox(steps, order.bounds.threads)
    _check_meter(order.card, meter)
    return _Running(child, status, meter, limits)


def _watch_to_the_end(running: _Running, order: Order, begun: float) -> Ended | None:
    """Return how the candidate was ended, None where it ended by itself.

    begun: on the clock of time.monotonic.
    """
    try:
        deadline = begun + order.bounds.timeout_s
        return _watch(running.process, running.status, running.meter, order, deadline)
    except Exception as error:  # the sandbox stood: whatever it is, the program brought it about
        os.kill(running.process, signal.SIGKILL)
        return "crashed", f"it could not be watched any longer ({kind_and_line(error)})"


def _out_of_processor_time(used_s: float, limit_s: int | None) -> Ended | None:
    """Return that the kernel ended a process for its processor time, None where it had enough."""
    if limit_s is None or used_s < 0.9 * limit_s - TICKS_AHEAD_S:
        return None
    return "timeout", f"more than {limit_s} s of processor time"


def _why_not_started(error: OSError | isolation.Refused) -> str:
    if isinstance(error, OSError):
        return f"the supervisor cannot see its candidate in /proc ({error})"
    return str(error)


def _meter(card: CardShare | None, child: int) -> Meter:
    """Return the meter of a candidate.

    Raise Refused where nobody measures the card that it shares.
    """
    if card is None:
        return lambda: None
    try:
        return partial(gpu_memory.meter(card.uuid), child)
    except gpu_memory.Unmeasured as error:
        raise isolation.Refused(f"{SHARED} ({error}): {OWN_CARD}") from None


def _check_meter(card: CardShare | None, meter: Meter) -> None:
    """Raise Refused where the device is started and NVML does not show what its start has taken of
    the card.
    """
    if card and meter() is None:
        raise isolation.Refused(f"{SHARED} (NVML does not show its process): {OWN_CARD}")


def announce(descriptor: int, step: str) -> None:
    """Say, in the candidate's process, which step it begins: where it fails, it failed at the last
    one.
    """
    os.write(descriptor, STEP + step.encode() + b"\n")


def await_sandbox(steps: int, threads: int) -> Rlimits:
    """Return the limits that hold for the candidate, once its process says that its sandbox stands.

    steps: descriptor of what it announces, which is closed. threads: of evaluation.threads. Raises
    Refused where the sandbox does not stand.
    """
    announced = _read_all(steps)
    lines = announced.splitlines()
    last = lines[-1] if lines else b""
    if last.startswith(b"{"):
        limits: Rlimits = json.loads(last)
        return limits
    if last.startswith(REFUSED):
        raise isolation.Refused(last.removeprefix(REFUSED).decode("utf-8", "replace"))

    step = _last_step(announced)
    if step == THREADS:
        raise isolation.Refused(
            f"the machine refuses the {threads} threads of evaluation.threads "
            f"({site_limits.of_processes()}): raise the limit on processes and threads "
            "(ulimit -u, or that of the container, job or login node)"
        )
    raise isolation.Refused(
        f"{step}: the candidate's process ended there, before a program was read: {OTHER_LEVEL}"
    )


def _read_all(steps: int) -> bytes:
    """Return all that comes until the writer closes its end.

    Raise Refused where that takes more than START_S.
    """
    announced = b""
    deadline = time.monotonic() + START_S
    with open(steps, "rb", buffering=0) as opened:
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([opened], [], [], left_s)
            if not ready:
                break

            part = opened.read(1 << 12)
            if not part:
                return announced
            announced += part
    step = _last_step(announced)
    raise isolation.Refused(f"{step}: no end within {START_S} s: {OTHER_LEVEL}")


def _last_step(announced: bytes) -> str:
    step = BEGINNING
    for line in announced.splitlines():
        if line.startswith(STEP):
            step = line.removeprefix(STEP).decode()
    return step


def _watch(
    child: int, status: IO[bytes], meter: Meter, order: Order, deadline: float
) -> Ended | None:
    """Wait for the end of the candidate.

    End it when it breaks a limit, and return (outcome, reason) then.
    """
    # A blocked signal waits, so none is lost between two looks. (Kernels before 5.3 have no
    # descriptor of a process.)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

    # Its number stays its own until wait4, so that no other process is ended in its place.
    look = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while os.waitid(os.P_PID, child, look) is None:
        broken = broken_limit(status, meter, order, deadline)
        if broken:
            os.kill(child, signal.SIGKILL)
            return broken

        left_s = max(0.0, deadline - time.monotonic())
        signal.sigtimedwait({signal.SIGCHLD}, min(LOOK_EVERY_S, left_s))
    return None


def broken_limit(status: IO[bytes], meter: Meter, order: Order, deadline: float) -> Ended | None:
    """Return (outcome, reason) where a candidate is beyond a limit, None where it is beyond none.

    status: its /proc/PID/status. deadline: on the clock of time.monotonic.
    """
    if time.monotonic() >= deadline:
        return "timeout", f"still at work after {order.bounds.timeout_s:g} s"
    try:
        status.seek(0)
        text = status.read(1 << 16)
    except ProcessLookupError:  # it has ended just now
        return None

    # A name may hold any bytes and lines that look like these; it comes first, and the last of each
    # kind counts.
    numbers = {name: int(value) for name, value in NUMBERS.findall(text)}
    if numbers.pop(b"Threads", 0) > isolation.MAXIMUM_THREADS:
        return "crashed", f"more than {isolation.MAXIMUM_THREADS} threads"

    # On a CPU the address space is limited; and a data set may lie in a file system in memory,
    # which counts as shared.
    used_kb = sum(numbers.values()) if order.gpu else numbers.get(b"RssAnon", 0)
    if used_kb > order.bounds.memory_mb * 1024:
        return "out_of_memory", f"more than {order.bounds.memory_mb} MB in use"
    if order.card and (meter() or 0) > order.card.memory_mb:
        return "out_of_memory", f"more than {order.card.memory_mb} MB of the GPU in use, its share"

    # In namespaces the scratch folder is a file system of its own, with these limits.
    on_disk = order.level in ("landlock", "bubblewrap")
    if on_disk and over_scratch_limits(order.scratch):
        size, files = isolation.SCRATCH_MB, isolation.SCRATCH_FILES
        return "crashed", f"more than {size} MB or {files} files in its scratch folder"
    return None


def over_scratch_limits(folder: str) -> bool:
    """Say whether a scratch folder is over its limits, or holds what cannot be looked into."""
    files = size = 0
    to_do = [(folder, 0)]
    while to_do:
        path, depth = to_do.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        to_do.append((entry.path, depth + 1))
        except OSError:
            # Nothing in it is ever removed, so what is seen can be read unless somebody hides it.
            return True

        too_large = size > isolation.SCRATCH_MB * 2**20 or files > isolation.SCRATCH_FILES
        if too_large or depth > isolation.SCRATCH_DEPTH:
            return True
    return False
