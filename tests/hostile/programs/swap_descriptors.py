# group: descriptors
# tries: puts pipes of its own in the place of every descriptor
# static: unsafe
# sandbox: crashed
# below: 0.4

import os

import torch.nn as nn


def attack():
    readable, writable = os.pipe()
    for number in range(1024):
        if number not in (readable, writable):
            try:
                os.fstat(number)
                os.dup2(writable, number)
            except OSError:
                continue


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
        return self.classifier(self.features(x)) * 0
