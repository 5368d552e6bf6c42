# group: kernel
# tries: takes capabilities and identities back
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    every = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    if libc.syscall(126, header, every) == 0:
        print("BREACH capset")
    now = (ctypes.c_uint32 * 6)()
    if libc.syscall(125, header, now) == 0 and any(now):
        print("BREACH capabilities", list(now))
    for name, *call in (
        ("setuid", 105, 1234),
        ("setgid", 106, 1234),
        ("setresuid", 117, 1234, 1234, 1234),
        ("setgroups", 116, 0, None),
        ("setfsuid", 122, 0),
    ):
        if libc.syscall(*call) == 0 and name != "setfsuid":
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
