"""What a node that jobs run on offers, against what the run asks of it."""

import contextlib
import importlib.util
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from archloop import site_limits
from archloop.cluster import node_job
from archloop.cluster.slurm import JobRequest, Reply
from archloop.cluster.waiting import FULL
from archloop.logs import get_logger
from archloop.preflight import node_probe
from archloop.preflight.node_report import Gpu, NodeReport, TrialRequest
from archloop.preflight.planned_run import (
    Finding,
    PlannedRun,
    error,
    ok,
    temporary_bytes,
    warning,
)
from archloop.quantities import gigabytes
from archloop.sandbox import isolation
from archloop.sandbox.bounds import bounds
from archloop.settings.sections import Evaluation

# A node's answer may take a while to show on a network file system.
PATIENCE_S = 30
MISSING = "missing"  # in place of a version


def look_at_node(run: PlannedRun) -> tuple[NodeReport | None, bool, list[Finding]]:
    """Return (what a node says, whether the head sees what it wrote, findings).

    On one machine the node is this one. None where none was looked at.
    """
    run.results.mkdir(parents=True, exist_ok=True)
    shared = Path(tempfile.mkdtemp(dir=run.results, prefix=".preflight-"))
    request = TrialRequest(
        device=run.execution.device,
        isolation=run.execution.isolation,
        driver_calls=run.execution.driver_calls,
        evaluation=Evaluation(**run.settings["evaluation"]),
        always=run.slurm,
    )
    try:
        # A node reads it back, which shows that the folder is the same there.
        from_head = shared / node_probe.FROM_HEAD
        from_head.write_text(request.to_json())
        if not run.slurm:
            return node_probe.probe(shared, run.execution.isolation), True, []
        if not run.execution.preflight_wait_min:
            text = "no node was looked at, for execution.preflight_wait_min is 0"
            return None, False, [warning("node", text)]

        # The node leaves a file and prints a line; either may come late or not at all.
        answer = _ask_node(run, shared)
        report = node_probe.read_printed(answer.text)
        if report is not None:
            return report, _appears(shared / node_probe.FROM_NODE), []

        why = answer.why or "srun said nothing"
        text = f"no word from a node: {why}"
        if "queue gave" in why or FULL.search(why):
            return None, False, [warning("node", text)]
        return None, False, [error("node", text)]
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _ask_node(run: PlannedRun, shared: Path) -> Reply:
    """Return what the tiny job printed on a node like the fine-tuning's."""
    wait_min = run.execution.preflight_wait_min
    requests = list(run.rules.values())
    no_request: JobRequest = {}
    request = run.rules.get("finetune_seed") or next(iter(requests), no_request)

    folder = str(shared.resolve())
    command = node_job.probe_command(folder, run.execution.isolation)

    log = get_logger("preflight").info
    log(
        "asking SLURM for a node like the jobs', for up to %d min (execution.preflight_wait_min)",
        wait_min,
    )
    wait_s, most_s = 60 * wait_min, 60 + node_probe.TRIAL_S
    return node_job.run_on_node(request, command, wait_s, most_s, log)


def _appears(path: Path) -> bool:
    """Return whether a file that another machine wrote is seen here within PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.is_file() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            list(path.parent.iterdir())  # NFS looks again
        time.sleep(0.5)
    return path.is_file()


def check_packages(run: PlannedRun) -> Iterator[Finding]:
    """Packages that come from a folder in PYTHONPATH: a module system's, or another project's."""
    folders = []
    named = os.environ.get("PYTHONPATH", "")
    for name in named.split(os.pathsep):
        if name:
            folders.append(Path(name).resolve())

    for name in node_probe.PACKAGES:
        package = importlib.util.find_spec(name)
        if package is None or package.origin is None:
            continue

        path = Path(package.origin).resolve()
        if any(path.is_relative_to(folder) for folder in folders):
            yield warning(
                "python",
                f"{name} is taken from {path.parent}, which PYTHONPATH names, not from"
                f" {sys.prefix}; unset PYTHONPATH where that is not meant",
            )


def check_isolation(run: PlannedRun, node: NodeReport) -> Iterator[Finding]:
    """A level of isolation that works there."""
    if node.isolation is None:
        yield error("isolation", node.isolation_trouble or "no level works")
    elif node.isolation == "none":
        text = f"none: on {node.node} generated programs run with your rights"
        yield warning("isolation", text, level=node.isolation)
    else:
        text = f"{node.isolation} on {node.node}"
        yield ok("isolation", text, level=node.isolation)


def check_site(run: PlannedRun, node: NodeReport) -> Iterator[Finding]:
    """What the site lets one process have, against what a candidate of the judge is promised."""
    promised = _promised(run, node)
    for text in site_limits.shortfalls(promised, hard=node.limits.hard):
        yield error("site", f"{node.node}: {text}")
    yield ok(
        "site",
        f"{node.node} limits a process to: {site_limits.as_line(node.limits)}",
        **asdict(node.limits),
    )


def _promised(run: PlannedRun, node: NodeReport) -> dict[int, int]:
    """Return the limits (resource.RLIMIT_*) that a candidate may need."""
    cpu_s, memory_mb = 0, 0
    for chain, cycle in run.cells():
        settings = run.evaluation(chain, cycle)
        promised = bounds(settings.timeout_s, settings.memory_mb, settings.threads)
        cpu_s = max(cpu_s, promised.cpu_s)
        memory_mb = max(memory_mb, promised.memory_mb)

    # What the sandbox sets for every candidate, and may not set higher than the site does.
    wanted = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: isolation.SCRATCH_MB * 2**20,
        resource.RLIMIT_NOFILE: isolation.OPEN_FILES,
        resource.RLIMIT_STACK: site_limits.STACK,
    }
    # A GPU's driver maps more addresses than any limit would allow.
    if not node.gpus or run.execution.device == "cpu":
        wanted[resource.RLIMIT_AS] = memory_mb * 2**20
    return wanted


def check_versions(run: PlannedRun, node: NodeReport) -> Iterator[Finding]:
    """The packages of the head."""
    here, there = node_probe.node_versions(), node.versions

    differences = []
    for name in sorted({*here, *there}):
        head_has = here.get(name, MISSING)
        node_has = there.get(name, MISSING)
        if node_has != head_has:
            differences.append(f"{name} {node_has} instead of {head_has}")
    if differences:
        listed = ", ".join(differences)
        remedy = "use one environment on a shared file system"
        yield error("versions", f"{node.node} has {listed}; {remedy}", **there)
        return

    python, torch = there["python"], there.get("torch", MISSING)
    yield ok("versions", f"Python {python}, torch {torch} as on the head", **there)


def check_gpu(run: PlannedRun, node: NodeReport) -> Iterator[Finding]:
    """A GPU that the settings count on, and what 4 bits need."""
    device, gpus = run.execution.device, node.gpus
    count = len(gpus)
    names = ", ".join(map(_with_memory, gpus)) or "no GPU"

    # Torch counts the GPUs from 0, and takes the first for `cuda` alone.
    _, _, number = device.partition(":")
    if device.startswith("cuda") and int(number or 0) >= count:
        text = f"execution.device is {device}, but {node.node} shows {names}"
        yield error("device", f"{text}; set it to auto or cpu", gpus=count)
    elif gpus:
        known = [gpu.bytes for gpu in gpus if gpu.bytes]
        smallest = min(known, default=None)
        use = _use_by_processes(node)
        text = f"{names} on {node.node}, {use}"
        yield ok("device", text, gpus=count, gpu_bytes=smallest)
        yield from _sharing(node)
    elif run.slurm and run.finetuning_request():
        text = f"jobs ask for a GPU, but {node.node} shows none: they would run on its CPU"
        yield warning("device", text, gpus=0)
    else:
        yield ok("device", f"no GPU on {node.node}: jobs run on its processors", gpus=0)

    # Without a GPU another check says that nf4 needs one.
    needs_package = run.loading.quantization == "nf4" and gpus
    if needs_package and "bitsandbytes" not in node.versions:
        text = "nf4 needs the package bitsandbytes; install it, or set it to none"
        yield error("quantization", text)


def _with_memory(gpu: Gpu) -> str:
    if gpu.bytes is None:
        return gpu.name
    size = gigabytes(gpu.bytes, 0)
    return f"{gpu.name} ({size})"


def _use_by_processes(node: NodeReport) -> str:
    """Return how processes may use the GPUs: their compute mode, and whether MPS runs."""
    modes = {gpu.mode or "unknown" for gpu in node.gpus}
    listed = ", ".join(sorted(modes))
    mps = "MPS runs" if node.shares_gpu else "no MPS"
    return f"compute mode {listed}, {mps}"


def _sharing(node: NodeReport) -> Iterator[Finding]:
    """Whether several candidates may use one GPU at once, as execution.workers wants it."""
    modes = {gpu.mode for gpu in node.gpus if gpu.mode}
    alone = ", ".join(sorted(modes - {"Default"}))
    if alone:
        yield warning(
            "device",
            f"compute mode {alone} lets one process at a time use a GPU of {node.node};"
            " set execution.workers to 1, or the mode to Default",
        )

    if node.shares_gpu:
        yield warning(
            "device",
            f"MPS serves {node.node}: candidates do not use it, for the sandbox lets them connect"
            " to nobody; in mode EXCLUSIVE_PROCESS they find no GPU",
        )


def check_trial(run: PlannedRun, node: NodeReport) -> Iterator[Finding]:
    """A seed program through the real judge: nothing less shows that the node can judge."""
    trial = node.trial
    if trial is None:
        return

    if trial.trouble is not None:
        remedy = "see docs/judge.md"
        if node.gpus:
            remedy = "python scripts/try_isolation.py there says what is in the way"
        text = f"{node.node}: no candidate can be judged ({trial.trouble}); {remedy}"
        yield error("judge", text)
        return

    yield ok(
        "judge",
        f"{node.node} trained a seed program at level {trial.isolation} on {trial.device}"
        f" in {trial.seconds} s",
        level=trial.isolation,
        device=trial.device,
        seconds=trial.seconds,
    )


def check_network(run: PlannedRun, node: NodeReport) -> Iterator[Finding]:
    """A way out of the node, which no job needs."""
    way = "a way out of the node" if node.route else "no way out of the node"
    yield ok("network", f"{node.node}: {way}; jobs need none", route=node.route)


def check_folders(run: PlannedRun, node: NodeReport, seen: bool) -> Iterator[Finding]:
    """What a node sees of the run's folder, and its own room for temporary files.

    seen: whether the head sees what the node wrote.
    """
    for trouble in node.trouble:
        yield error("folders", f"{node.node} cannot write to {trouble}")
    if not (node.sees_head and seen):
        where = run.results.resolve()
        text = f"{where} is not the same on {node.node}; run from a shared file system"
        yield error("folders", text)
    elif not node.trouble:
        yield ok("folders", f"{node.node} reads and writes {run.results}/")

    # The node's own disk: the head's may have more.
    needed, free = temporary_bytes(run), node.free_tmp
    room = gigabytes(free or 0)
    wanted = gigabytes(needed, 2)
    text = f"{node.tmp} on {node.node}: {room} free, a job wants about {wanted}"
    values = {"free_bytes": free, "needed_bytes": needed}
    if free is None or free > needed:
        yield ok("temporary", text, **values)
    else:
        yield error("temporary", f"{text}; point TMPDIR to a larger folder", **values)
