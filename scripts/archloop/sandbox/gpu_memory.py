"""The memory that a candidate holds on a GPU, measured from outside by NVML: its own word is a promise.

A candidate that has a card of its own can take all of it; where several share one, each may hold its share.
"""

from collections.abc import Callable

MB = 2**20


class Unmeasured(Exception):
    """Why nobody says what a process holds on a card."""


def shares(devices: list[str], workers: int) -> dict[str, dict]:
    """Return, for each device on which several candidates are judged at once, its uuid and the MB of each candidate.

    devices: as `dealt_out` gives them. workers: candidates at once on all of them.
    """
    import torch

    each = -(-workers // len(devices))
    if each < 2 or not devices[0].startswith("cuda"):
        return {}
    found = {device: torch.cuda.get_device_properties(device) for device in devices}
    return {
        device: {"uuid": str(card.uuid), "mb": card.total_memory // MB // each}
        for device, card in found.items()
    }


def meter(uuid: str) -> Callable[[int], int | None]:
    """Return what gives the MB that a process holds on a card, None where NVML does not tell.

    uuid: of the card, or of a part of it (MIG), as torch has it. Raises Unmeasured where there is no NVML.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        card = _handle(uuid)
    except ImportError:
        raise Unmeasured("the package nvidia-ml-py is not installed") from None
    except pynvml.NVMLError as error:
        raise Unmeasured(f"NVML: {error}") from None

    def held(process: int) -> int | None:
        try:
            rows = pynvml.nvmlDeviceGetComputeRunningProcesses(card)
        except (
            pynvml.NVMLError
        ):  # for a moment; whether it tells at all is seen before a program is read
            return None
        told = [row.usedGpuMemory for row in rows if row.pid == process]
        return None if None in told or not told else sum(told) // MB

    return held


def _handle(uuid: str):
    import pynvml

    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
