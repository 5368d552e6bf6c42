"""The devices of a judge: which of a machine's GPUs it deals out, what they are called, and on what a score depends."""

import platform

from archloop.models import versions
from archloop.processes import processes_for
from archloop.progress import get_logger

logger = get_logger("evaluate")


def dealt_out(device: str, gpus: int) -> list[str]:
    """Return the devices that candidates are dealt out to: one, or the first `gpus` GPUs where they are of one kind.

    device: as `choose_device` gives it. Raises InputError when torch sees fewer GPUs than were asked for.
    """
    count = processes_for(gpus, device)
    if count < 2:
        return [device]
    names = [device_name(f"cuda:{number}") for number in range(count)]
    alike = [f"cuda:{number}" for number in range(count) if names[number] == names[0]]
    if len(alike) < count:
        logger.warning("%d GPUs are no %s and stay idle: scores depend on the kind", count - len(alike), names[0])
    return alike


def device_name(device: str) -> str:
    """Return cpu, or the name of a GPU."""
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


def judge_versions() -> dict[str, str]:
    """Return what a score depends on beside settings, data and device: of packages, and the kind of processor.

    cpu: the machine, and the instructions that PyTorch's kernels for processors are chosen by.
    """
    import torch

    kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return versions("torch", "torchvision", "numpy") | {"cpu": kind}
