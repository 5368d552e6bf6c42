# group: kernel
# tries: changes what the machine shares: host name, clock, by their present values
# static: unsafe
# sandbox: trained

import ctypes
import socket

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    name = socket.gethostname().encode()
    if libc.syscall(170, name, len(name)) == 0:
        print("BREACH sethostname")
    now = (ctypes.c_long * 2)()
    libc.syscall(228, 0, now)
    if libc.syscall(227, 0, now) == 0:
        print("BREACH clock_settime")


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
