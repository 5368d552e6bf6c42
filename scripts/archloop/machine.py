"""The machine that a process runs on: its device, the versions of packages, its class.

Torch, whose import takes seconds, is imported only where the answer hangs on it.
"""

import contextlib
import platform
import sys
from collections.abc import Iterable
from importlib import metadata

from archloop.errors import InputError


def choose_device(wanted: str) -> str:
    """Return the torch device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises InputError when there is no such GPU.
    """
    if wanted == "cpu":
        return wanted
    import torch

    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if available else "cpu"

    if wanted.startswith("cuda") and not available:
        raise InputError(
            f"execution.device: {wanted}, but torch sees no GPU here;"
            " set execution.device to auto or cpu"
        )
    if wanted.startswith("cuda:"):
        count = torch.cuda.device_count()
        if int(wanted.removeprefix("cuda:")) >= count:
            raise InputError(
                f"execution.device: {wanted}, but there are {count} GPUs, counted from 0"
            )
    return wanted


def choose_gpu(wanted: str, shard: int) -> str:
    """Return the device of a shard: where several GPUs are to be seen and none is named, they take
    turns.

    wanted: as `choose_device` takes it.
    """
    device = choose_device(wanted)
    if device != "cuda":
        return device
    import torch

    number = shard % torch.cuda.device_count()
    return f"cuda:{number}"


def processes_for(gpus: int, device: str) -> int:
    """Return how many processes share the work: one for each of `gpus` on a GPU, one on a CPU.

    device: as `choose_device` gives it. Raises InputError when the node has fewer GPUs than were
    asked for.
    """
    import torch

    if not device.startswith("cuda") or gpus < 2:
        return 1
    if device != "cuda":
        raise InputError(
            f"execution.gpus: {gpus}, but execution.device: {device} names a single one; set"
            " execution.device to auto"
        )
    if gpus > torch.cuda.device_count():
        raise InputError(
            f"execution.gpus: {gpus}, but torch sees {torch.cuda.device_count()} here; ask for as"
            " many"
        )
    return gpus


def device_name(device: str) -> str:
    """Return cpu, or the name of a GPU."""
    if device == "cpu":
        return "cpu"
    import torch

    name: str = torch.cuda.get_device_name(device)
    return name


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    installed = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def versions_with_kernel(packages: Iterable[str]) -> dict[str, str]:
    """Return what `versions` does and that of the kernel, for the record of a job."""
    return versions(packages) | {"kernel": platform.release()}


def host(device: str | None) -> dict[str, str]:
    """Return the class of machine that numbers depend on.

    That is its architecture, and where it computes: the GPU, or the kind of processor.

    device: as `choose_device` takes it, None for a job that computes with no tensors. One that has
    not imported torch computed with none either.
    """
    kind = {"machine": platform.machine(), "system": platform.system()}
    torch = sys.modules.get("torch")
    if device is None or torch is None:
        return kind

    if device != "cpu" and torch.cuda.is_available():
        name = torch.cuda.get_device_name(None if device == "auto" else device)
        return kind | {"device": name}
    return kind | {"device": "cpu", "cpu": torch.backends.cpu.get_cpu_capability()}
