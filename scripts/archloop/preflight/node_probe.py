"""What a node offers a job: isolation, GPUs, room, versions, network.

The preflight runs it as a small job:

python -m archloop.preflight.node_probe results/.preflight-x auto    prints one line of JSON
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from archloop import python_command, site_limits
from archloop.errors import InputError
from archloop.machine import versions
from archloop.preflight.node_report import Gpu, NodeReport, TrialRequest, TrialResult
from archloop.sandbox.isolation import choose_level

PACKAGES = ("torch", "torchvision", "transformers", "peft", "polars")
FROM_HEAD, FROM_NODE = "head", "node"
TRIAL_S = 180  # a trial takes about 15 s, most of it until torch is imported twice
MARK = "archloop-node "  # before the line of JSON: a site's own greetings may come with it
# File of the kernel -> (column of the destination, what it holds for the default route).
ROUTES = {
    "/proc/net/route": (1, "00000000"),
    "/proc/net/ipv6_route": (0, "0" * 32),
}


def probe(shared: Path, isolation: str) -> NodeReport:
    """Return what this node offers, and leave a file in the folder that it shares with the head.

    isolation: as the settings ask for it.
    """
    # SLURM's name of a node need not be that of the host.
    node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
    gpus = find_gpus()
    level, isolation_trouble = None, None
    try:
        level = choose_level(isolation, gpu=bool(gpus))
    except InputError as error:
        isolation_trouble = str(error)

    sees_head = (shared / FROM_HEAD).is_file()
    trial = try_judging(shared / FROM_HEAD, gpu=bool(gpus))

    trouble = []
    # The head looks whether this shows there, too.
    try:
        (shared / FROM_NODE).write_text(node, encoding="utf-8")
    except OSError as error:
        trouble.append(f"{shared}: {error.strerror}")
    temporary = Path(tempfile.gettempdir())
    try:
        try_writing(temporary)
    except OSError as error:
        trouble.append(f"{temporary}: {error.strerror}")

    return NodeReport(
        node=node,
        isolation=level,
        isolation_trouble=isolation_trouble,
        gpus=gpus,
        limits=site_limits.inherited(),
        versions=node_versions(),
        shares_gpu=shares_gpu(),
        sees_head=sees_head,
        trial=trial,
        trouble=trouble,
        tmp=str(temporary),
        free_tmp=free_space(temporary),
        route=has_route(),
    )


def printed(report: NodeReport) -> str:
    """Return a report as the line that `read_printed` finds among others."""
    return MARK + report.to_json()


def read_printed(output: str) -> NodeReport | None:
    """Return the report in what a job printed, None where there is none."""
    for line in reversed(output.splitlines()):
        if line.startswith(MARK):
            return NodeReport.from_json(line.removeprefix(MARK))
    return None


def node_versions() -> dict[str, str]:
    """Return the versions of Python and of what the jobs compute with, as far as it is there."""
    return versions((*PACKAGES, "bitsandbytes"))


def find_gpus() -> list[Gpu]:
    """Return the GPUs that jobs may use here."""
    if shutil.which("nvidia-smi"):
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            return _ask_driver()

    # Without the command, or where it fails, only their names are known.
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return [Gpu(name, bytes=None, mode=None) for name in devices]


def _ask_driver() -> list[Gpu]:
    """Return what nvidia-smi says; raise ValueError where it says something else or fails."""
    query = "--query-gpu=name,memory.total,compute_mode"
    done = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        raise ValueError(done.stderr)

    gpus = []
    for line in done.stdout.splitlines():
        if "," in line:
            name, memory_mb, mode = line.rsplit(",", 2)
            gpus.append(Gpu(name.strip(), int(memory_mb) * 2**20, mode.strip()))
    return gpus


def shares_gpu() -> bool:
    """Return whether NVIDIA's MPS serves this node.

    Processes reach it by a Unix socket, which the sandbox refuses.
    """
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()


def try_judging(request: Path, gpu: bool) -> TrialResult | None:
    """Return the trial of trial.py in a process of its own, None where nobody asked for one.

    request: a file with a TrialRequest as JSON. gpu: whether the node has one.
    """
    try:
        text = request.read_text(encoding="utf-8")
        wanted = TrialRequest.from_json(text)
    except (OSError, ValueError):
        return None
    if not wanted.always and (not gpu or wanted.device == "cpu"):
        return None

    command = python_command.run_module("archloop.preflight.trial")
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=TRIAL_S,
        )
    except subprocess.TimeoutExpired:
        return TrialResult(trouble=f"a seed program was not judged within {TRIAL_S} s")
    # The last line, for libraries print, too.
    try:
        return TrialResult(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        last_words = done.stderr.strip().splitlines() or ["its process ended without a word"]
        return TrialResult(trouble=last_words[-1])


def free_space(folder: Path) -> int | None:
    """Return the bytes that a user may still write where a folder is or would be.

    None where that is not known.
    """
    # It may not have been made yet.
    while not folder.exists():
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def try_writing(folder: Path, size: int = 2**20) -> None:
    """Write a file and bring it to the disk.

    Raises OSError when a quota, a full disk or rights are against it.
    """
    handle, name = tempfile.mkstemp(dir=folder, prefix=".preflight.")
    try:
        with open(handle, "wb") as opened:
            opened.write(secrets.token_bytes(size))  # no file system makes less of it
            opened.flush()
            os.fsync(opened.fileno())
    finally:
        Path(name).unlink()


def has_route() -> bool:
    """Return whether the node has a default route, over IPv4 or IPv6; nothing is sent."""
    for path, (column, default) in ROUTES.items():
        try:
            lines = Path(path).read_text(encoding="ascii").splitlines()
        except OSError:
            continue

        for line in lines:
            fields = line.split()
            if len(fields) > 2 and fields[column] == default and fields[-1] != "lo":
                return True
    return False


if __name__ == "__main__":
    print(printed(probe(Path(sys.argv[1]), sys.argv[2])), flush=True)
