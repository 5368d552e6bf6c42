"""One process for each GPU of a node, started and watched over by torchrun's own launcher."""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

from archloop.errors import InputError
from archloop.logs import log_file, start_logging

Result = TypeVar("Result")


def run_distributed(
    processes: int, function: Callable[..., Result], arguments: dict[str, Any], device: str
) -> Result:
    """Return what function(device=..., **arguments) gives in the first of several processes that
    run it at once.

    In each of them torch.distributed is ready: NCCL between GPUs, gloo between CPUs. The function,
    its arguments (of the types that it wants) and its value are pickled. One process that fails
    ends the others; an InputError in any is raised here.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Of a process that fails they tell in pages; the line that counts is raised below.
    for noisy in ("torch.distributed", "torch.multiprocessing"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="archloop",
        rdzv_backend="c10d",
        # Any free port: jobs of several runs may share a node.
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    start = elastic_launch(launch, _run_in_process)
    try:
        results: dict[int, Result] = start(function, arguments, device, processes, log_file())
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message = failure.message
        if isinstance(message, dict):  # what the process raised; a text tells of a signal
            kind, _, text = message["message"].partition(": ")
            if kind == InputError.__name__:
                raise InputError(text) from None
            message = message["extraInfo"]["py_callstack"]
        raise RuntimeError(f"process {rank} of {processes} failed: {message}") from None
    return results[0]


def _run_in_process(
    function: Callable[..., Result],
    arguments: dict[str, Any],
    device: str,
    processes: int,
    log: str | None,
) -> Result:
    import torch
    import torch.distributed as dist

    rank = int(os.environ["LOCAL_RANK"])
    start_logging(log, "a")
    if rank:  # one of them tells what all do
        logging.getLogger("archloop").setLevel(logging.ERROR)

    if device == "cuda":
        device = f"cuda:{rank}"
        torch.cuda.set_device(rank)
    else:
        # Each would start a thread on every core.
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))

    dist.init_process_group("nccl" if device != "cpu" else "gloo")
    try:
        return function(device=device, **arguments)
    finally:
        dist.destroy_process_group()
