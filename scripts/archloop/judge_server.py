"""The process that imports torch once and forks for every candidate. Runs as a program of its own.

A request is a packet on the socket that it inherits: JSON with the limits, and four descriptors: the request itself,
and where the result, what the candidate prints, and the keeper's report go. The server reads none of them, so nothing
of one candidate is in the memory that the next one starts from; nor has it any label that scores.

    evaluator -- server (this) -- keeper, trusted: watches time, memory, threads, disk -- candidate, behind the walls
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from archloop import namespaces, train, walls

LOOK_EVERY_S = 0.05
RESULT, REQUEST, READY, ASIDE = 3, 4, 5, 200


def serve(data_file: str, facts_file: str, channel: int) -> None:
    """Fork a keeper for every request until the socket is closed."""
    data = load_file(data_file) | json.loads(Path(facts_file).read_text(encoding="utf-8"))
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    train.warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=channel) as requests:
        requests.send(b"ready")
        while True:
            text, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 4)
            if not text:
                return
            if os.fork() == 0:
                keep(json.loads(text), descriptors, data)
            for descriptor in descriptors:
                os.close(descriptor)


def keep(order: dict, descriptors: list[int], data: dict) -> None:
    """Be the keeper: start the candidate's process, watch it, report its end. Never returns."""
    report = descriptors.pop()
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        walls.die_with_parent()
        facts = _start_and_watch(order, descriptors, data)
    except BaseException as error:
        facts = {"error": f"{type(error).__name__}: {error}"}
    finally:
        with contextlib.suppress(OSError):
            os.write(report, json.dumps(facts).encode())
        os._exit(0)


def _start_and_watch(order: dict, descriptors: list[int], data: dict) -> dict:
    if order["level"] == "namespaces":
        namespaces.leave()
    readable, ready = os.pipe()
    started, spent = time.monotonic(), time.process_time()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _live(order, descriptors, ready, data)
    os.close(ready)
    for descriptor in descriptors:
        os.close(descriptor)
    with open(readable, "rb") as opened:
        problem = opened.read()
    if problem != b"ready":
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return {"error": problem.decode("utf-8", "replace") or "the candidate's process ended before its walls stood"}
    stopped = _watch(child, order, started + order["timeout_s"])
    _, status, usage = os.wait4(child, 0)  # of a namespace's first process: all others in it have ended, too
    return {
        "error": None,
        "stopped": stopped,
        "status": os.waitstatus_to_exitcode(status),
        "cpu_s": round(usage.ru_utime + usage.ru_stime + time.process_time() - spent, 3),
        "wall_s": round(time.monotonic() - started, 3),
        "peak_mb": usage.ru_maxrss // 1024,
    }


def _watch(child: int, order: dict, deadline: float) -> list[str] | None:
    """Wait for the end of the candidate; end it when it breaks a limit, and return (outcome, reason) then."""
    descriptor = os.pidfd_open(child)
    try:
        while True:
            ended, _, _ = select.select([descriptor], [], [], min(LOOK_EVERY_S, max(0.0, deadline - time.monotonic())))
            if ended:
                return None
            broken = _broken_limit(child, order, deadline)
            if broken:
                os.kill(child, signal.SIGKILL)
                select.select([descriptor], [], [])
                return broken
    finally:
        os.close(descriptor)


def _broken_limit(child: int, order: dict, deadline: float) -> list[str] | None:
    if time.monotonic() >= deadline:
        return ["timeout", f"still at work after {order['timeout_s']:g} s"]
    try:
        status = Path(f"/proc/{child}/status").read_text()
    except OSError:
        return None
    numbers = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("Threads", "RssAnon")))
    if int(numbers.get("Threads", 0)) > walls.MAXIMUM_THREADS:
        return ["crashed", f"more than {walls.MAXIMUM_THREADS} threads"]
    if int(numbers.get("RssAnon", "0").split()[0]) > order["memory_mb"] * 1024:
        return ["out_of_memory", f"more than {order['memory_mb']} MB in use"]
    if order["level"] == "landlock" and _too_much(order["scratch"]):
        return ["crashed", f"more than {walls.SCRATCH_MB} MB or {walls.SCRATCH_FILES} files in its scratch folder"]
    return None


def _too_much(folder: str) -> bool:
    files = size = 0
    for place, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(place, name), follow_symlinks=False).st_blocks * 512  # noqa: PTH116, PTH118
        if files > walls.SCRATCH_FILES or size > walls.SCRATCH_MB * 2**20:
            return True
    return False


def _live(order: dict, descriptors: list[int], ready: int, data: dict) -> None:
    """Be the candidate's process: go behind the walls, judge, write the result, end. Never returns."""
    try:
        _arrange(descriptors, ready)
        limits = {key: order[key] for key in ("memory_mb", "timeout_s", "threads", "gpu")}
        try:
            os.setsid()
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("1000")  # before anything of the user's goes
            walls.confine(order["level"], order["base"], order["scratch"], **limits)
        except BaseException as error:
            os.write(READY, f"{type(error).__name__}: {error}".encode())
            os._exit(1)
        os.write(READY, b"ready")
        os.close(READY)
        with open(REQUEST, "rb") as opened:
            request = json.loads(opened.read())
        nonce = bytes.fromhex(request.pop("nonce"))
        torch.set_num_threads(order["threads"])
        facts, predictions = train.judge(**request, data=data)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        header = json.dumps(facts).encode()
        answer = memoryview(nonce + len(header).to_bytes(4, "little") + header + predictions)
        while answer:
            answer = answer[os.write(RESULT, answer) :]
    finally:
        os._exit(0)


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


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
