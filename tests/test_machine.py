"""The machine that a process runs on: its device, the versions of packages, and its class as a host."""

import platform

import pytest
import torch

from archloop.errors import InputError
from archloop.machine import choose_device, choose_gpu, device_name, host, processes_for, versions, versions_with_kernel


def test_the_host_is_the_machine_and_where_it_computes(monkeypatch):
    plain = {"machine": platform.machine(), "system": "Linux"}
    capability = torch.backends.cpu.get_cpu_capability()
    assert host(None) == plain
    assert host("cpu") == plain | {"device": "cpu", "cpu": capability}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    assert host("auto") == plain | {"device": "GPU None"}
    assert host("cuda:1") == plain | {"device": "GPU cuda:1"}
    assert host("cpu") == plain | {"device": "cpu", "cpu": capability}


def test_packages_that_are_not_installed_have_no_version():
    assert set(versions(("click", "no-such-package"))) == {"python", "click"}


def test_the_record_of_a_job_names_the_kernel_too():
    assert versions_with_kernel(("click",)) == versions(("click",)) | {"kernel": platform.release()}


@pytest.mark.parametrize(
    ("wanted", "gpus", "chosen"),
    [("cpu", 2, "cpu"), ("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_is_chosen_among_those_that_torch_sees(monkeypatch, wanted, gpus, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_device(wanted) == chosen


@pytest.mark.parametrize(
    ("wanted", "gpus", "complaint"),
    [("cuda", 0, "cuda, but torch sees no GPU"), ("cuda:2", 2, "cuda:2, but there are 2 GPUs, counted from 0")],
)
def test_a_gpu_that_is_not_there_is_named(monkeypatch, wanted, gpus, complaint):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(InputError, match=f"execution.device: {complaint}"):
        choose_device(wanted)


def test_a_gpu_is_called_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    assert (device_name("cpu"), device_name("cuda:1")) == ("cpu", "GPU cuda:1")


def test_as_many_processes_as_gpus_and_one_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [processes_for(2, "cpu"), processes_for(2, "cuda"), processes_for(1, "cuda")] == [1, 2, 1]
    for gpus, device, says in ((3, "cuda", "torch sees 2"), (2, "cuda:1", "names a single one")):
        with pytest.raises(InputError, match=says):
            processes_for(gpus, device)


def test_shards_take_turns_on_the_gpus_that_are_to_be_seen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_gpu("auto", shard) for shard in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert choose_gpu("cuda:1", 2) == "cuda:1"
    assert choose_gpu("cpu", 1) == "cpu"
