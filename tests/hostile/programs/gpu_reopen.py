# group: gpu
# tries: takes the closing of the sandbox back: filters, rules and memory with a name of its own, dumpable again
# static: unsafe
# sandbox: trained

import ctypes
import errno
import platform

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() != "x86_64"


def attack():
    calls = [(277 if ARM else 317, 1, 1, 0), (444, 0, 0, 1), (445, 3, 1, 0), (446, 3, 0), (279 if ARM else 319, b"x", 0)]
    calls += [(167 if ARM else 157, *rest) for rest in ((4, 1, 0, 0, 0), (22, 2, 0, 0, 0), (38, 0, 0, 0, 0))]
    for call in calls:
        ctypes.set_errno(0)
        if libc.syscall(*call) != -1 or ctypes.get_errno() != errno.EPERM:
            print("BREACH", call, "is let through:", errno.errorcode.get(ctypes.get_errno()))
    if libc.prctl(3, 0, 0, 0, 0) != 0:
        print("BREACH it can be dumped")


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
