"""The process that imports torch once and forks a child for each candidate. Runs as a program of its own.

It reads one request a line on standard input, {"program", "settings", "seed", "device"}, and answers with one line of
facts, {"outcome", "detail", ...}, that says how many bytes of predictions follow. It holds no label that scores.
"""

import json
import os
import resource
import select
import signal
import sys
import time

import torch
from safetensors.torch import load_file

from archloop.train import judge

MAXIMUM_ANSWER = 64 * 2**20


def serve(data_file: str, facts_file: str) -> None:
    """Answer requests until standard input ends."""
    data = load_file(data_file)
    with open(facts_file, encoding="utf-8") as opened:
        data |= json.load(opened)
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    _warm_up()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin.buffer:
        facts, predictions = judge_apart(json.loads(line), data)
        answers.write(json.dumps(facts | {"bytes": len(predictions)}).encode() + b"\n" + predictions)
        answers.flush()


def _warm_up() -> None:
    """Load what torch loads at first use (kernels for the meta device, autograd), so that no child has to."""
    layers = [torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(2, 2))
    net(torch.ones(2, 1, 8, 8)).sum()
    net.to("meta")(torch.empty(2, 1, 8, 8, device="meta"))


def judge_apart(request: dict, data: dict) -> tuple[dict, bytes]:
    """Judge one candidate in a child and return (facts, bytes of predictions); the server lives on."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _live(request, data, writable)
    os.close(writable)
    answer, late = _read_answer(readable, time.monotonic() + request["settings"]["timeout_s"])
    os.close(readable)
    _end(child)
    _, status, usage = os.wait4(child, 0)
    if late:
        return {"outcome": "timeout", "detail": f"still at work after {request['settings']['timeout_s']:g} s"}, b""
    header, _, predictions = answer.partition(b"\n")
    try:
        facts = json.loads(header)
    except ValueError:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        return {"outcome": "crashed", "detail": f"the process ended with {how} and no result"}, b""
    return facts | {"peak_mb": usage.ru_maxrss // 1024}, predictions


def _live(request: dict, data: dict, writable: int) -> None:
    """Be the child: limit yourself, judge, write the answer, end. Never returns."""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.closerange(3, writable)
        os.closerange(writable + 1, 1024)
        settings = request["settings"]
        torch.set_num_threads(settings["threads"])
        space = settings["memory_mb"] * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (space, space)) if request["device"] == "cpu" else None
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        facts, predictions = judge(request["program"], data, settings, request["seed"], request["device"])
        answer = json.dumps(facts).encode() + b"\n" + (predictions.tobytes() if predictions is not None else b"")
        while answer:
            answer = answer[os.write(writable, answer) :]
    finally:
        os._exit(0)


def _read_answer(readable: int, deadline: float) -> tuple[bytes, bool]:
    """Return (what the child wrote until it closed the pipe, whether the time ran out first)."""
    parts, size = [], 0
    while size < MAXIMUM_ANSWER:
        ready, _, _ = select.select([readable], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return b"", True
        part = os.read(readable, 1 << 16)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts), False


def _end(child: int) -> None:
    for end in (os.killpg, os.kill):
        try:
            end(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    serve(*sys.argv[1:])
