# group: bombs
# tries: starts processes by the raw system calls fork, vfork, clone and clone3
# static: unsafe
# sandbox: trained

import ctypes
import os
import time

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

CALLS = {
    "fork": (57,),
    "clone": (56, 17, 0, 0, 0, 0),
    "clone into new namespaces": (56, 17 | 0x10000000 | 0x20000000, 0, 0, 0, 0),
}


def bomb():
    for name, call in CALLS.items():
        child = libc.syscall(*call)
        if child == 0:
            time.sleep(20)
            os._exit(0)
        if child > 0:
            print(f"BREACH {name}")
    arguments = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
    child = libc.syscall(435, ctypes.byref(arguments), 88)
    if child == 0:
        os._exit(0)
    if child > 0:
        print("BREACH clone3")


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        bomb()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
