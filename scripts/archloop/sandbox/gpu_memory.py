"""The memory that a candidate holds on a GPU, measured from outside by NVML: its own word is a
promise.

A candidate that has a card of its own can take all of it; where several share one, each may hold
its share.
"""

from collections.abc import Callable

from archloop.sandbox.orders import CardShare

MB = 2**20


class Unmeasured(Exception):
    """Why nobody says what a process holds on a card."""


def shares(devices: list[str], workers: int) -> dict[str, CardShare]:
    """Return device -> the share of each of its candidates, where several are judged at once on
    one.

    devices: as `dealt_out` gives them. workers: candidates at once on all of them.
    """
    import torch

    per_device = -(-workers // len(devices))  # rounded up
    if per_device < 2 or not devices[0].startswith("cuda"):
        return {}

    by_device = {}
    for device in devices:
        card = torch.cuda.get_device_properties(device)
        by_device[device] = CardShare(str(card.uuid), card.total_memory // MB // per_device)
    return by_device


def meter(uuid: str) -> Callable[[int], int | None]:
    """Return what gives the MB that a process holds on a card, None where NVML does not tell.

    uuid: of the card, or of a part of it (MIG), as torch has it. Raises Unmeasured where there is
    no NVML.
    """
    try:
        import pynvml
    except ImportError:
        raise Unmeasured("the package nvidia-ml-py is not installed") from None

    try:
        pynvml.nvmlInit()
        card = _handle(uuid)
    except pynvml.NVMLError as error:
        raise Unmeasured(f"NVML: {error}") from None

    def memory_mb_of(process: int) -> int | None:
        try:
            rows = pynvml.nvmlDeviceGetComputeRunningProcesses(card)
        except pynvml.NVMLError:
            # For a moment: whether it tells at all is seen before a program is read.
            return None

        # None where NVML knows the process and not what it holds.
        used = [row.usedGpuMemory for row in rows if row.pid == process]
        if not used or None in used:
            return None
        total: int = sum(used)
        return total // MB

    return memory_mb_of


def _handle(uuid: str) -> object:
    import pynvml

    # Torch gives neither of the beginnings.
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
