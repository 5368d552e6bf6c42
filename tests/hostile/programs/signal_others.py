# group: kernel
# tries: finds out which processes it may signal, without harm to them
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    for process in range(2, 40_000):
        if process == os.getpid():
            continue
        try:
            os.kill(process, 0)
            print("BREACH may signal", process)
            break
        except OSError:
            continue
    for number, *call in (
        (424, 3, 0, None, 0),
        (129, os.getppid(), 0, None),
        (297, os.getppid(), os.getppid(), 0, None),
    ):
        if os.getppid() > 0 and libc.syscall(number, *call) == 0:
            print("BREACH signal", number)


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
