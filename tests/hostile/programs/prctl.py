# group: kernel
# tries: makes itself dumpable, keeps capabilities, drops its death signal, takes a subreaper's role
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    for call in (
        (4, 1),
        (8, 1),
        (1, 0),
        (36, 1),
        (28, 0),
        (24, 0),
        (0x59616D61, -1),
        (47, 2, 21, 0, 0),
        (35, 1, 0, 0, 0),
    ):
        libc.prctl(*call)
    if libc.prctl(39, 0, 0, 0, 0) != 1:
        print("BREACH no_new_privs is off")
    if libc.prctl(21, 0, 0, 0, 0) != 2:
        print("BREACH seccomp is off")
    for capability in range(41):
        if libc.prctl(47, 2, capability, 0, 0) == 0:
            print("BREACH ambient capability", capability)


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
