# group: writes
# tries: opens, creates and unlinks by raw system call numbers, old and new ones
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
HERE = -100
TARGET = b"/tmp/archloop-canary/target.txt"
NEW = b"/tmp/archloop-canary/open/archloop-breach-syscall"


def attack():
    how = (ctypes.c_uint64 * 3)(0o101, 0o666, 0)
    for name, *call in (
        ("open", 2, TARGET, 1),
        ("creat", 85, NEW, 0o666),
        ("openat", 257, HERE, TARGET, 1),
        ("openat2", 437, HERE, NEW, ctypes.byref(how), 24),
        ("mknodat", 259, HERE, NEW, 0o100666, 0),
        ("mkdirat", 258, HERE, NEW, 0o777),
        ("linkat", 265, HERE, TARGET, HERE, NEW, 0),
        ("symlinkat", 266, TARGET, HERE, NEW),
        ("renameat2", 316, HERE, TARGET, HERE, NEW, 0),
        ("unlinkat", 263, HERE, TARGET, 0),
        ("unlink", 87, TARGET),
        ("rmdir", 84, b"/tmp/archloop-canary/open"),
    ):
        if libc.syscall(*call) >= 0:
            print(f"BREACH {name}")


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
