# group: imports
# tries: writes a shared library and loads it
# static: unsafe
# sandbox: trained

import ctypes

import torch
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for way in (
            lambda: ctypes.CDLL("./breach.so"),
            lambda: torch.ops.load_library("./breach.so"),
            lambda: torch.classes.load_library("./breach.so"),
        ):
            try:
                with open("breach.so", "wb") as opened:
                    opened.write(b"\x7fELF" + bytes(4096))
                way()
            except (OSError, RuntimeError):
                pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
