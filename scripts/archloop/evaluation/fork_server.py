"""The process that imports torch once and forks for every candidate.

Runs as a process of its own (`main`). An order is a packet on the socket that it inherits
(archloop.sandbox.orders.Order) with four descriptors: the request itself, and where the result,
what the candidate prints, and the supervisor's report go. The server reads none of them, so nothing
of one candidate is in the memory that the next one starts from; nor has it any label that scores.

    judge -- fork server (this) -- supervisor, trusted -- candidate, in its sandbox

The supervisor watches time, memory, threads and disk.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from archloop import site_limits
from archloop.errors import one_line
from archloop.evaluation import train_candidate, warm_up
from archloop.evaluation.faults import line
from archloop.evaluation.records import TrainingRequest
from archloop.evaluation.train_candidate import CandidateData
from archloop.sandbox import isolation, supervisor
from archloop.sandbox.orders import Order, SupervisorReport

# Descriptors of a candidate, beside those of its input and output.
RESULT, REQUEST, READY = 3, 4, 5
# Where they lie while they are put in order, out of the way of each other.
ASIDE = 200
LARGEST_ORDER = 1 << 16  # bytes

OTHER_PART = (
    "python scripts/try_isolation.py says which part of the sandbox it is;"
    f" {supervisor.OTHER_LEVEL}"
)
# What to do where a step fails.
REMEDIES = {
    supervisor.SANDBOX: supervisor.OTHER_LEVEL,
    supervisor.DEVICE: OTHER_PART,
    supervisor.AGAIN: OTHER_PART,
}


def serve(data_file: str, metadata_file: str, channel: int) -> None:
    """Fork a supervisor for every order until the socket is closed.

    It first sends the instructions that PyTorch's kernels for processors are chosen by, which a
    judge with nothing to train needs, too; then, once it is warm, `ready`.
    """
    tensors = load_file(data_file)
    metadata = json.loads(Path(metadata_file).read_text(encoding="utf-8"))
    data = CandidateData(
        train_images=tensors["train_images"],
        train_labels=tensors["train_labels"],
        validation_images=tensors["validation_images"],
        test_images=tensors["test_images"],
        mean=metadata["mean"],
        std=metadata["std"],
        classes=metadata["classes"],
    )

    with socket.socket(fileno=channel) as orders:
        orders.send(torch.backends.cpu.get_cpu_capability().encode())

        torch.set_num_threads(1)  # a pool of threads would not survive the fork
        train_candidate.warm_up()
        # Nobody waits for supervisors that have ended.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        # A collection would write to every object, and so copy the pages that all candidates share.
        gc.collect()
        gc.freeze()

        orders.send(b"ready")
        while True:
            text, descriptors, _, _ = socket.recv_fds(orders, LARGEST_ORDER, 4)
            if not text:  # the judge has closed its end
                return
            fork_supervisor(text, descriptors, data)
            for descriptor in descriptors:
                os.close(descriptor)


def fork_supervisor(text: bytes, descriptors: list[int], data: CandidateData) -> None:
    """Fork the supervisor of an order.

    descriptors: of request, result, what the candidate prints, and report.
    """
    *inherited, report = descriptors
    try:
        child = os.fork()
    except OSError as error:
        supervisor.send(report, SupervisorReport(error=supervisor.no_process(error)))
        return

    if child == 0:
        try:
            order = Order.from_json(text)
            supervisor.supervise(order, inherited, report, partial(_live, order, inherited, data))
        finally:
            os._exit(1)


def _live(order: Order, descriptors: list[int], data: CandidateData, steps: int, wait: int) -> None:
    """Be the candidate's process: go into the sandbox, train, write the result, end.

    Never returns.
    """
    try:
        if not os.read(wait, 1):  # the supervisor has ended
            os._exit(1)

        arrange(descriptors, steps)
        try:
            limits = _enter_sandbox(order)
        except BaseException as error:
            text = str(error) if isinstance(error, isolation.Refused) else line(error)
            os.write(READY, supervisor.REFUSED + one_line(text).encode() + b"\n")
            os._exit(1)
        os.write(READY, json.dumps(limits).encode())
        os.close(READY)

        with open(REQUEST, "rb") as opened:
            request = TrainingRequest.from_json(opened.read())

        report, predictions = train_candidate.run(
            request.program, data, request.settings, request.seed, request.device, request.images
        )
        with contextlib.suppress(Exception):  # the program may have put anything in its place
            sys.stdout.flush()

        header = report.to_json()
        nonce = bytes.fromhex(request.nonce)
        length = len(header).to_bytes(4, "little")
        answer = memoryview(nonce + length + header + predictions)
        while answer:  # a pipe takes as much as it has room for
            answer = answer[os.write(RESULT, answer) :]
    finally:
        os._exit(0)


def _enter_sandbox(order: Order) -> site_limits.Rlimits:
    """Put the calling process into its sandbox with all that a training needs.

    Return the limits that hold there. Raises Refused, saying what the machine refuses and what to
    do.
    """
    os.setsid()
    with contextlib.suppress(OSError):
        # Before anything of the user's goes.
        Path("/proc/self/oom_score_adj").write_text("1000")

    step = _begin(supervisor.SANDBOX)
    try:
        close = isolation.confine(order)
        if order.gpu:
            step = _begin(supervisor.DEVICE)
            warm_up.take_a_step(order.device)
            step = _begin(supervisor.CLOSING)
            close()

        # In the closed sandbox, for threads stay in the one that they were started in.
        step = _begin(supervisor.THREADS)
        warm_up.start_threads(order.bounds.threads)
        if order.gpu:
            step = _begin(supervisor.AGAIN)
            warm_up.take_a_step(order.device)
    except BaseException as error:
        remedy = REMEDIES.get(step, "see docs/judge.md, The sandbox")
        raise isolation.Refused(f"{step} failed ({line(error)}): {remedy}") from None
    return site_limits.soft_limits()


def _begin(step: str) -> str:
    supervisor.announce(READY, step)
    return step


def arrange(descriptors: list[int], ready: int) -> None:
    """Give a candidate's descriptors the numbers 0 to 5, and close all others.

    descriptors: of the request, the result and what it prints. ready: where it says which step it
    begins.
    """
    request, result, log = descriptors
    nothing = os.open(os.devnull, os.O_RDONLY)
    wanted = (nothing, log, log, result, request, ready)
    for number, descriptor in enumerate(wanted):
        os.dup2(descriptor, ASIDE + number)
    for number in range(len(wanted)):
        os.dup2(ASIDE + number, number)
    # The judge's socket, and whatever else came with the fork.
    os.closerange(len(wanted), 1 << 20)


def main() -> None:
    """Serve what the command line says: two files of data, and the number of the socket."""
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
