# group: writes
# tries: changes mode, owner and times by raw system calls, also the newest one
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    path, here = b"/tmp/archloop-canary/target.txt", -100
    for name, *call in (
        ("chmod", 90, path, 0o777),
        ("fchmodat", 268, here, path, 0o777),
        ("fchmodat2", 452, here, path, 0o777, 0),
        ("chown", 92, path, -1, -1),
        ("lchown", 94, path, -1, -1),
        ("fchownat", 260, here, path, -1, -1, 0),
        ("utime", 132, path, None),
        ("utimes", 235, path, None),
        ("futimesat", 261, here, path, None),
        ("utimensat", 280, here, path, None, 0),
        ("setxattr", 188, path, b"user.archloop", b"x", 1, 0),
        ("lsetxattr", 189, path, b"user.archloop", b"x", 1, 0),
    ):
        if libc.syscall(*call) == 0:
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
