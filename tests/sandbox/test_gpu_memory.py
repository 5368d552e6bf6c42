"""What a candidate holds on a card that it shares is bounded from outside: with a library that stands in for NVML's.

The binding, the judge, its supervisor and the candidates are real; what is measured as memory of a card is their own.
"""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from archloop.errors import InputError
from archloop.evaluation.judge import Judge
from archloop.families.programs import family_programs
from archloop.sandbox import gpu_memory
from archloop.sandbox.orders import CardShare

HONEST = family_programs("plain")[0].program
MEMORY_MB, SHARE_MB = 3000, 1500  # of which the judge's own modules, mapped, are some hundreds
TAKES = """
import torch
import torch.nn as nn

class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.head = nn.Linear(in_shape[1] * in_shape[2] * in_shape[3], out_shape[0])
        self.kept = []

    def forward(self, x):
        if not x.is_meta:
            self.kept.append(torch.ones(2**24))
        return self.head(x.flatten(1))
"""


@pytest.fixture(scope="module")
def settings(settings):
    return replace(settings, memory_mb=MEMORY_MB, batch_size=4)


@pytest.fixture(scope="module")
def library(root, tmp_path_factory):
    """The folder of the stand-in."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    source = root / "tests" / "helpers" / "nvml_stand_in.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


@pytest.fixture(scope="module")
def judge(library, digits):
    """A judge whose candidates share a card, a half for each."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LD_LIBRARY_PATH", str(library))
        with Judge(digits, "cpu", "landlock") as opened:
            opened.gpu = True
            opened.shares = {"cpu": CardShare("any", SHARE_MB)}
            yield opened


def test_a_candidate_beyond_its_share_of_the_card_is_stopped(judge, settings):
    record = judge.judge(TAKES, settings, 1, static=False)
    assert (record["outcome"], record["detail"]) == (
        "out_of_memory",
        f"more than {SHARE_MB} MB of the GPU in use, its share",
    )


def test_a_candidate_within_its_share_is_trained(judge, settings):
    assert judge.judge(HONEST, settings, 1)["outcome"] == "trained"


def test_where_nvml_does_not_show_a_candidate_no_card_is_shared(judge, settings, monkeypatch):
    monkeypatch.setattr(judge, "shares", {"cpu": CardShare("empty", SHARE_MB)})
    with pytest.raises(
        InputError, match=r"not measured \(NVML does not show its process\): set execution.workers to auto"
    ):
        judge.judge(HONEST, settings, 1)


def test_without_nvidias_driver_nothing_is_measured():
    if Path("/dev/nvidiactl").exists():
        pytest.skip("NVIDIA's driver is here")
    with pytest.raises(gpu_memory.Unmeasured, match="NVML: NVML Shared Library Not Found"):
        gpu_memory.meter("any")


def test_without_the_package_that_reads_nvml_nothing_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(gpu_memory.Unmeasured, match=r"^the package nvidia-ml-py is not installed$"):
        gpu_memory.meter("any")


@pytest.mark.parametrize("kind", ["GPU", "MIG"])
def test_a_card_and_a_part_of_one_are_asked_for_by_the_name_that_nvml_has_for_them(monkeypatch, kind):
    class NVMLError(Exception):
        pass

    def handle(name: str) -> str:
        if name != f"{kind}-f00":
            raise NVMLError("not found")
        return name

    def processes(card: str) -> list[SimpleNamespace]:
        sizes = {f"{kind}-f00": [(7, 3 * 2**20), (8, 2**30), (7, 2**20)]}
        return [SimpleNamespace(pid=process, usedGpuMemory=used) for process, used in sizes[card]]

    nvml = {"nvmlDeviceGetHandleByUUID": handle, "nvmlDeviceGetComputeRunningProcesses": processes}
    stand_in = SimpleNamespace(NVMLError=NVMLError, nvmlInit=lambda: None, **nvml)
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    memory_mb_of = gpu_memory.meter("f00")
    assert (memory_mb_of(7), memory_mb_of(8), memory_mb_of(9)) == (4, 1024, None)


def test_each_candidate_of_a_card_has_a_share_and_one_alone_has_all(monkeypatch):
    card = SimpleNamespace(uuid="f00", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    both = ["cuda:0", "cuda:1"]
    assert gpu_memory.shares(both, 2) == gpu_memory.shares(["cpu"], 8) == {}
    assert gpu_memory.shares(both, 5) == {device: CardShare("f00", 80 * 2**10 // 3) for device in both}
