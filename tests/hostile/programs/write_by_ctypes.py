# group: writes
# tries: writes, deletes and renames through the C library
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
TARGET = b"/tmp/archloop-canary/target.txt"
OPEN = b"/tmp/archloop-canary/open/archloop-breach-"


def attack():
    libc.fopen.restype = ctypes.c_void_p
    for name, result in {
        "creat": libc.creat(OPEN + b"creat", 0o666) >= 0,
        "fopen": bool(libc.fopen(OPEN + b"fopen", b"w")),
        "unlink": libc.unlink(TARGET) == 0,
        "rename": libc.rename(TARGET, OPEN + b"renamed") == 0,
        "mkdir": libc.mkdir(OPEN + b"mkdir", 0o777) == 0,
        "link": libc.link(TARGET, OPEN + b"link") == 0,
        "symlink": libc.symlink(TARGET, OPEN + b"symlink") == 0,
        "mkfifo": libc.mkfifo(OPEN + b"fifo", 0o666) == 0,
        "remove": libc.remove(TARGET) == 0,
    }.items():
        if result:
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
