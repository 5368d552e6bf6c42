# group: secrets
# tries: prints the environment as Python, the C library and the start block know it
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn


def attack():
    print(dict(os.environ))
    libc = ctypes.CDLL(None)
    variables = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    number = 0
    while variables and variables[number]:
        print(variables[number])
        number += 1
    libc.getenv.restype = ctypes.c_char_p
    print(libc.getenv(b"ARCHLOOP_CANARY_SECRET"))


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
