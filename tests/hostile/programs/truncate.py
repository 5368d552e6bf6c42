# group: writes
# tries: empties the canaries by truncate, ftruncate and fallocate
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    for path in ("/tmp/archloop-canary/target.txt", "/tmp/archloop-canary/data/digits.safetensors"):
        try:
            os.truncate(path, 0)
            print("BREACH truncate")
        except OSError:
            pass
        if libc.syscall(76, path.encode(), 0) == 0:
            print("BREACH raw truncate")
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        for number in (77, 285):
            if libc.syscall(number, descriptor, 0, 0, 1) == 0:
                print("BREACH", number)


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
