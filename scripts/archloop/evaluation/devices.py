"""The devices of a judge: which of a machine's GPUs it deals out, what they are called, and on what
a score depends.

Torch is imported for GPUs alone: a judge on processors leaves it to the processes that train.
"""

from typing import Literal

from archloop.logs import get_logger
from archloop.machine import choose_device, device_name, processes_for
from archloop.sandbox.isolation import gpu_devices

# evaluation.precision
Precision = Literal["auto", "float32", "bfloat16"]

logger = get_logger("evaluate")


def judging_device(wanted: str) -> str:
    """Return the device for execution.device as `choose_device` does.

    `auto` is a GPU only where a candidate can reach it.
    """
    if wanted == "auto" and not gpu_devices():
        return "cpu"
    return choose_device(wanted)


def dealt_out(device: str, gpus: int) -> list[str]:
    """Return the devices that candidates are dealt out to: one, or the first `gpus` GPUs where they
    are of one kind.

    device: as `choose_device` gives it. Raises InputError when torch sees fewer GPUs than were
    asked for.
    """
    count = processes_for(gpus, device)
    if count < 2:
        return [device]

    devices = [f"cuda:{number}" for number in range(count)]
    kind = device_name(devices[0])
    alike = [name for name in devices if device_name(name) == kind]
    if len(alike) < count:
        logger.warning(
            "%d GPUs are no %s and stay idle: scores depend on the kind", count - len(alike), kind
        )
    return alike


def resolved_precision(precision: Precision, device: str) -> Precision:
    """Return evaluation.precision as it holds on a device: `auto` is bfloat16 where a GPU has it in
    hardware.
    """
    if precision != "auto":
        return precision
    if not device.startswith("cuda"):
        return "float32"
    import torch

    in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if in_hardware else "float32"
