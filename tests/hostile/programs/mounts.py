# group: writes
# tries: mounts, unmounts and remounts by the old and the new calls
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    try:
        os.mkdir("point")
    except OSError:
        pass
    for name, *call in (
        ("mount tmpfs", 165, b"tmpfs", b"point", b"tmpfs", 0, None),
        ("mount proc", 165, b"proc", b"point", b"proc", 0, None),
        ("bind root", 165, b"/", b"point", None, 4096 | 16384, None),
        ("remount root", 165, None, b"/", None, 32 | 4096, None),
        ("share root", 165, None, b"/", None, (1 << 20) | 16384, None),
        ("umount /proc", 166, b"/proc", 2),
        ("open_tree", 428, -100, b"/", 1),
        ("fsopen", 430, b"tmpfs", 0),
        ("mount_setattr", 442, -100, b"/", 0, None, 0),
        ("fspick", 433, -100, b"/", 0),
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
