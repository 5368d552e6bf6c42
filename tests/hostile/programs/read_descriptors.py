# group: descriptors
# tries: reads whatever can be read from every descriptor, and seeks in it
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    for number in range(1024):
        try:
            os.set_blocking(number, False)
            print(number, os.read(number, 4096)[:200])
            os.lseek(number, 0, os.SEEK_SET)
            print(number, os.read(number, 4096)[:200])
            print(number, os.pread(number, 4096, 0)[:200])
        except (OSError, ValueError):
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
        return self.classifier(self.features(x))
