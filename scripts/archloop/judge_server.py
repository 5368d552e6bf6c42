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
import re
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
# Threads, and in kB all memory that is the process's own, swapped out or not; files that it maps do not count.
NUMBERS = re.compile(r"^(Threads|RssAnon|RssShmem|VmSwap|HugetlbPages):\s*(.+)$", re.MULTILINE)
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
    if status == signal.SIGKILL and not stopped and usage.ru_utime + usage.ru_stime >= order["cpu_s"]:
        stopped = ["timeout", f"more than {order['cpu_s']} s of processor time"]
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
    numbers = {name: int(value.split()[0]) for name, value in re.findall(NUMBERS, status)}
    if numbers.pop("Threads", 0) > walls.MAXIMUM_THREADS:
        return ["crashed", f"more than {walls.MAXIMUM_THREADS} threads"]
    # On a CPU the address space is limited; and a data set may lie in a file system in memory, which counts as shared.
    used = sum(numbers.values()) if order["gpu"] else numbers.get("RssAnon", 0)
    if used > order["memory_mb"] * 1024:
        return ["out_of_memory", f"more than {order['memory_mb']} MB in use"]
    if order["level"] in ("landlock", "bubblewrap") and _too_much(order["scratch"]):
        return ["crashed", f"more than {walls.SCRATCH_MB} MB or {walls.SCRATCH_FILES} files in its scratch folder"]
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
        except OSError:  # nothing in it is ever removed, so what is seen can be read unless somebody hides it
            return True
        if files > walls.SCRATCH_FILES or size > walls.SCRATCH_MB * 2**20 or depth > walls.SCRATCH_DEPTH:
            return True
    return False


def _live(order: dict, descriptors: list[int], ready: int, data: dict) -> None:
    """Be the candidate's process: go behind the walls, judge, write the result, end. Never returns."""
    try:
        _arrange(descriptors, ready)
        limits = {key: order[key] for key in ("readable", "base", "scratch", "memory_mb", "cpu_s", "gpu")}
        try:
            os.setsid()
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("1000")  # before anything of the user's goes
            walls.confine(order["level"], **limits)
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
