"""What a node offers a job: walls, GPU memory, room, versions, network. The tiny job of the preflight runs it:

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
from archloop.sandbox.isolation import choose_level

PACKAGES = ("torch", "torchvision", "transformers", "peft", "polars")
FROM_HEAD, FROM_NODE = "head", "node"
TRIAL_S = 180  # a trial takes about 15 s, most of it until torch is imported twice
MARK = "archloop-node "  # before the line of JSON: a site's own greetings may come with it


def probe(shared: Path, isolation: str) -> dict:
    """Return the facts of this node, and leave a file in the folder that it shares with the head.

    isolation: the setting execution.isolation. Keys: node, isolation (the level, or null),
    isolation_trouble, versions, gpus (name, memory in bytes and compute mode of each), limits (as
    site_limits.inherited gives them), shares_gpu (does NVIDIA's MPS run), trial (as trial.py gives it, null
    where none was asked for), sees_head, free_tmp (bytes, or null), trouble (of writing to the shared or the
    temporary folder), route (is there a way out of the node).
    """
    facts = {
        "node": os.environ.get("SLURMD_NODENAME") or os.uname().nodename,
        "isolation": None,
        "isolation_trouble": None,
        "trouble": [],
    }
    facts["gpus"] = gpus()
    try:
        facts["isolation"] = choose_level(isolation, gpu=bool(facts["gpus"]))
    except InputError as error:
        facts["isolation_trouble"] = str(error)
    facts["limits"] = site_limits.inherited()
    facts["versions"] = node_versions()
    facts["shares_gpu"] = shares_gpu()
    facts["sees_head"] = (shared / FROM_HEAD).is_file()
    facts["trial"] = try_judging(shared / FROM_HEAD, bool(facts["gpus"]))
    try:
        (shared / FROM_NODE).write_text(facts["node"], encoding="utf-8")
    except OSError as error:
        facts["trouble"].append(f"{shared}: {error.strerror}")
    facts["tmp"] = tempfile.gettempdir()
    facts["free_tmp"] = free_space(Path(facts["tmp"]))
    try:
        try_writing(Path(facts["tmp"]))
    except OSError as error:
        facts["trouble"].append(f"{facts['tmp']}: {error.strerror}")
    facts["route"] = has_route()
    return facts


def node_versions() -> dict[str, str]:
    """Return the versions of Python and of what the jobs compute with; a package that is not there is left out."""
    return versions((*PACKAGES, "bitsandbytes"))


def gpus() -> list[dict]:
    """Return name, memory (bytes, null where it is not told) and compute mode of each GPU that jobs may use here."""
    if shutil.which("nvidia-smi"):
        command = [
            "nvidia-smi",
            "--query-gpu=name,memory.total,compute_mode",
            "--format=csv,noheader,nounits",
        ]
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if done.returncode == 0:
                rows = [line.rsplit(",", 2) for line in done.stdout.splitlines() if "," in line]
                each = [
                    (name.strip(), int(memory) * 2**20, mode.strip()) for name, memory, mode in rows
                ]
                return [dict(zip(("name", "bytes", "mode"), row)) for row in each]
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return [{"name": name, "bytes": None, "mode": None} for name in devices]


def shares_gpu() -> bool:
    """Tell whether NVIDIA's MPS serves this node: processes reach it by a Unix socket, which the walls refuse."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()


def try_judging(asked: Path, gpu: bool) -> dict | None:
    """Return what trial.py finds in a process of its own, None where nobody asked for it.

    asked: a file of JSON: device, isolation, evaluation, and always, whether to try without a GPU, too.
    """
    try:
        wanted = json.loads(asked.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not (wanted["always"] or (gpu and wanted["device"] != "cpu")):
        return None
    command = python_command.run_module("archloop.preflight.trial")
    try:
        done = subprocess.run(
            command, input=json.dumps(wanted), capture_output=True, text=True, timeout=TRIAL_S
        )
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"trouble": f"a seed program was not judged within {TRIAL_S} s"}
    except (IndexError, ValueError):
        return {
            "trouble": (done.stderr.strip().splitlines() or ["its process ended without a word"])[
                -1
            ]
        }


def free_space(folder: Path) -> int | None:
    """Return the bytes that a user may still write where a folder is or would be; None when it is not told."""
    while not folder.exists():
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def try_writing(folder: Path, size: int = 2**20) -> None:
    """Write a file and bring it to the disk; raise OSError when a quota, a full disk or rights are against it."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".preflight.")
    try:
        with open(handle, "wb") as opened:
            opened.write(secrets.token_bytes(size))  # no file system makes less of it
            opened.flush()
            os.fsync(opened.fileno())
    finally:
        Path(name).unlink()


def has_route() -> bool:
    """Tell whether the node has a default route, over IPv4 or IPv6; nothing is sent."""
    for path, place, wanted in (
        ("/proc/net/route", 1, "00000000"),
        ("/proc/net/ipv6_route", 0, "0" * 32),
    ):
        with contextlib.suppress(OSError):
            for line in Path(path).read_text(encoding="ascii").splitlines():
                parts = line.split()
                if len(parts) > 2 and parts[place] == wanted and parts[-1] != "lo":
                    return True
    return False


if __name__ == "__main__":
    print(MARK + json.dumps(probe(Path(sys.argv[1]), sys.argv[2])), flush=True)
