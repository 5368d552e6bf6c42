"""The process that imports torch once and forks for every candidate. Runs as a process of its own (`main`).

A request is a packet on the socket that it inherits: JSON with the limits, and four descriptors: the request itself,
and where the result, what the candidate prints, and the keeper's report go. The server reads none of them, so nothing
of one candidate is in the memory that the next one starts from; nor has it any label that scores.

    evaluator -- server (this) -- keeper, trusted: watches time, memory, threads, disk -- candidate, behind the walls
"""

import contextlib
import gc
import json
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import torch
from safetensors.torch import load_file

from archloop import site_limits
from archloop.evaluation import train_candidate, warm_up
from archloop.sandbox import gpu_memory, isolation, namespaces

LOOK_EVERY_S = 0.05
# Threads, and in kB all memory that is the process's own, swapped out or not; files that it maps do not count.
NUMBERS = re.compile(rb"^(Threads|RssAnon|RssShmem|VmSwap|HugetlbPages):\s*(\d+)", re.MULTILINE)
RESULT, REQUEST, READY, ASIDE = 3, 4, 5, 200
# How long a candidate's process may take to stand behind its walls, the start of a GPU included, in seconds.
START_S = 180
# What a process goes through before it reads a program, as a message names it; it failed at the last one it began.
WALLS, THREADS, DEVICE = "the walls", "the threads", "the start of the device"
CLOSING, AGAIN = "the closing of the walls", "a training step behind the closed walls"
OTHER_LEVEL = "set execution.isolation to another level, or take another node"
OTHER_WALL = f"python scripts/gpu_walls.py says which wall it is; {OTHER_LEVEL}"
SHARED = "what a candidate holds on a card that it shares is not measured"
OWN_CARD = "set execution.workers to auto"
MENDS = {
    WALLS: OTHER_LEVEL,
    DEVICE: OTHER_WALL,
    AGAIN: OTHER_WALL,
}


def serve(data_file: str, facts_file: str, channel: int) -> None:
    """Fork a keeper for every request until the socket is closed.

    Before the first it sends `ready` and the instructions that PyTorch's kernels for processors are chosen by.
    """
    data = load_file(data_file) | json.loads(Path(facts_file).read_text(encoding="utf-8"))
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    train_candidate.warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=channel) as requests:
        requests.send(f"ready {torch.backends.cpu.get_cpu_capability()}".encode())
        while True:
            text, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 4)
            if not text:
                return
            try:
                keeper = os.fork()
            except OSError as error:
                _report(descriptors[-1], {"error": _no_process(error)})
                keeper = None
            if keeper == 0:
                keep(json.loads(text), descriptors, data)
            for descriptor in descriptors:
                os.close(descriptor)


def keep(order: dict, descriptors: list[int], data: dict) -> None:
    """Be the keeper: start the candidate's process, watch it, report its end. Never returns."""
    report = descriptors.pop()
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        isolation.die_with_parent()
        facts = _start_and_watch(order, descriptors, data)
    except BaseException as error:
        facts = {"error": f"{type(error).__name__}: {error}"}
    finally:
        _report(report, facts)
        os._exit(0)


def _report(place: int, facts: dict) -> None:
    with contextlib.suppress(OSError):
        os.write(place, json.dumps(facts).encode())


def _no_process(error: OSError) -> str:
    return (
        f"the machine starts no process more ({error.strerror}; {site_limits.of_processes()}): raise the limit on "
        "processes (ulimit -u, or that of the container, job or login node), or set execution.workers lower"
    )


def _start_and_watch(order: dict, descriptors: list[int], data: dict) -> dict:
    if order["level"] == "namespaces":
        namespaces.leave()
    lower = site_limits.shortfalls(isolation.limits(order))
    if lower:
        return {"error": "; ".join(lower)}
    (told, tell), (wait, go) = os.pipe(), os.pipe()
    spent = time.process_time()
    try:
        child = os.fork()
    except OSError as error:
        return {"error": _no_process(error)}
    if child == 0:
        for descriptor in (told, go):
            os.close(descriptor)
        _live(order, descriptors, tell, wait, data)
    for descriptor in (tell, wait, *descriptors):
        os.close(descriptor)
    try:
        # Before the candidate hides itself: /proc may show a user's own processes alone (hidepid).
        status = open(f"/proc/{child}/status", "rb", buffering=0)  # noqa: SIM115 (it stays open)
        held = _meter(order["card"], child)
        os.write(go, b"1")
        limits = _behind_walls(told, order)
        _check_meter(order["card"], held)
    except (OSError, isolation.Refused) as error:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        why = (
            f"the keeper cannot see its candidate in /proc ({error})"
            if isinstance(error, OSError)
            else str(error)
        )
        return {"error": why}
    started = time.monotonic()
    try:
        stopped = _watch(child, status, held, order, started + order["timeout_s"])
    except Exception as error:  # the walls stood: whatever it is, the program brought it about
        os.kill(child, signal.SIGKILL)
        stopped = ["crashed", f"it could not be watched any longer ({train_candidate.line(error)})"]
    _, code, usage = os.wait4(
        child, 0
    )  # of a namespace's first process: all others in it have ended, too
    used = usage.ru_utime + usage.ru_stime
    if code == signal.SIGKILL and not stopped and used >= limits["RLIMIT_CPU"] - LOOK_EVERY_S:
        stopped = ["timeout", f"more than {limits['RLIMIT_CPU']} s of processor time"]
    return {
        "error": None,
        "stopped": stopped,
        "status": os.waitstatus_to_exitcode(code),
        "cpu_s": round(used + time.process_time() - spent, 3),
        "wall_s": round(time.monotonic() - started, 3),
        "peak_mb": usage.ru_maxrss // 1024,
        "limits": limits,
    }


def _meter(card: dict | None, child: int) -> Callable[[], int | None]:
    """Return what gives the MB that the candidate holds on its card, where it has a share of one.

    Raises Refused where nobody measures it.
    """
    try:
        return partial(gpu_memory.meter(card["uuid"]), child) if card else lambda: None
    except gpu_memory.Unmeasured as error:
        raise isolation.Refused(f"{SHARED} ({error}): {OWN_CARD}") from None


def _check_meter(card: dict | None, held: Callable[[], int | None]) -> None:
    """Raise Refused where the device is started and NVML does not show what its start has taken of the card."""
    if card and held() is None:
        raise isolation.Refused(f"{SHARED} (NVML does not show its process): {OWN_CARD}")


def _behind_walls(told: int, order: dict) -> dict[str, int | None]:
    """Return the limits that hold for the candidate, once its process says that its walls stand; raise Refused else."""
    said, deadline = b"", time.monotonic() + START_S
    with open(told, "rb", buffering=0) as opened:
        while select.select([opened], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = opened.read(1 << 12)
            if not part:
                break
            said += part
        else:
            step = _last_step(said)
            raise isolation.Refused(f"{step}: no end within {START_S} s")
    last = said.splitlines()[-1:]
    if last and last[0].startswith(b"{"):
        return json.loads(last[0])
    if last and last[0].startswith(b"refused "):
        raise isolation.Refused(last[0].removeprefix(b"refused ").decode("utf-8", "replace"))
    step = _last_step(said)
    if step == THREADS:
        raise isolation.Refused(
            f"the machine refuses the {order['threads']} threads of evaluation.threads ({site_limits.of_processes()}): "
            "raise the limit on processes and threads (ulimit -u, or that of the container, job or login node)"
        )
    raise isolation.Refused(
        f"{step}: the candidate's process ended there, before a program was read"
    )


def _last_step(said: bytes) -> str:
    steps = [
        line.removeprefix(b"step ").decode()
        for line in said.splitlines()
        if line.startswith(b"step ")
    ]
    return steps[-1] if steps else "the start of the candidate's process"


def _watch(
    child: int, status: IO[bytes], held: Callable[[], int | None], order: dict, deadline: float
) -> list[str] | None:
    """Wait for the end of the candidate; end it when it breaks a limit, and return (outcome, reason) then."""
    # A blocked signal waits, so none is lost between two looks. (Kernels before 5.3 have no descriptor of a process.)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        broken = _broken_limit(status, held, order, deadline)
        if broken:
            os.kill(child, signal.SIGKILL)
            return broken
        signal.sigtimedwait(
            {signal.SIGCHLD}, min(LOOK_EVERY_S, max(0.0, deadline - time.monotonic()))
        )
    return None


def _broken_limit(
    status: IO[bytes], held: Callable[[], int | None], order: dict, deadline: float
) -> list[str] | None:
    if time.monotonic() >= deadline:
        return ["timeout", f"still at work after {order['timeout_s']:g} s"]
    try:
        status.seek(0)
        said = status.read(1 << 16)
    except ProcessLookupError:  # it has ended just now
        return None
    # A name may hold any bytes and lines that look like these; it comes first, and the last of each kind counts.
    numbers = {name: int(value) for name, value in NUMBERS.findall(said)}
    if numbers.pop(b"Threads", 0) > isolation.MAXIMUM_THREADS:
        return ["crashed", f"more than {isolation.MAXIMUM_THREADS} threads"]
    # On a CPU the address space is limited; and a data set may lie in a file system in memory, which counts as shared.
    used = sum(numbers.values()) if order["gpu"] else numbers.get(b"RssAnon", 0)
    if used > order["memory_mb"] * 1024:
        return ["out_of_memory", f"more than {order['memory_mb']} MB in use"]
    card = order["card"]
    if card and (held() or 0) > card["mb"]:
        return ["out_of_memory", f"more than {card['mb']} MB of the GPU in use, its share"]
    if order["level"] in ("landlock", "bubblewrap") and _too_much(order["scratch"]):
        return [
            "crashed",
            f"more than {isolation.SCRATCH_MB} MB or {isolation.SCRATCH_FILES} files in its scratch folder",
        ]
    return None


def _too_much(folder: str) -> bool:
    """Say whether a scratch folder is over its limits, or holds what cannot be looked into."""
    files = size = 0
    todo = [(folder, 0)]
    while todo:
        place, depth = todo.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        todo.append((entry.path, depth + 1))
        except (
            OSError
        ):  # nothing in it is ever removed, so what is seen can be read unless somebody hides it
            return True
        if (
            files > isolation.SCRATCH_FILES
            or size > isolation.SCRATCH_MB * 2**20
            or depth > isolation.SCRATCH_DEPTH
        ):
            return True
    return False


def _live(order: dict, descriptors: list[int], tell: int, wait: int, data: dict) -> None:
    """Be the candidate's process: go behind the walls, judge, write the result, end. Never returns."""
    try:
        if not os.read(wait, 1):  # the keeper has ended
            os._exit(1)
        _arrange(descriptors, tell)
        try:
            limits = _go_behind_walls(order)
        except BaseException as error:
            text = (
                str(error) if isinstance(error, isolation.Refused) else train_candidate.line(error)
            )
            os.write(READY, f"refused {' '.join(text.split())}\n".encode())
            os._exit(1)
        os.write(READY, json.dumps(limits).encode())
        os.close(READY)
        with open(REQUEST, "rb") as opened:
            request = json.loads(opened.read())
        nonce = bytes.fromhex(request.pop("nonce"))
        facts, predictions = train_candidate.judge(**request, data=data)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        header = json.dumps(facts).encode()
        answer = memoryview(nonce + len(header).to_bytes(4, "little") + header + predictions)
        while answer:
            answer = answer[os.write(RESULT, answer) :]
    finally:
        os._exit(0)


def _go_behind_walls(order: dict) -> dict[str, int | None]:
    """Put the calling process behind the walls with all that a training needs; return the limits that hold there.

    Raises walls.Refused, saying what the machine refuses and what to do.
    """
    os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # before anything of the user's goes
    step = _begin(WALLS)
    try:
        close = isolation.confine(order)
        if order["gpu"]:
            step = _begin(DEVICE)
            warm_up.take_a_step(order["device"])
            step = _begin(CLOSING)
            close()
        step = _begin(
            THREADS
        )  # behind the closed walls, for threads stay behind those that they were started behind
        warm_up.start_threads(order["threads"])
        if order["gpu"]:
            step = _begin(AGAIN)
            warm_up.take_a_step(order["device"])
    except isolation.Refused:
        raise
    except BaseException as error:
        mend = MENDS.get(step, "see docs/judge.md, Walls")
        raise isolation.Refused(f"{step} failed ({train_candidate.line(error)}): {mend}") from None
    return site_limits.holding()


def _begin(step: str) -> str:
    os.write(READY, f"step {step}\n".encode())
    return step


def _arrange(descriptors: list[int], ready: int) -> None:
    """Put the descriptors at their places, 0 to 5, and close all others."""
    request, result, log = descriptors
    null = os.open(os.devnull, os.O_RDONLY)
    wanted = (null, log, log, result, request, ready)
    for place, descriptor in enumerate(wanted):  # out of the way of each other first
        os.dup2(descriptor, ASIDE + place)
    for place in range(len(wanted)):
        os.dup2(ASIDE + place, place)
    os.closerange(len(wanted), 1 << 20)


def main() -> None:
    """Serve what the command line says: two files of data, and the number of the socket."""
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
