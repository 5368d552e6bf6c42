# group: floods
# tries: makes folders with names of a letter deeper than a recursion goes
# static: unsafe
# sandbox: trained
# landlock: crashed

import os
import time

import torch.nn as nn


def attack():
    whole = 0
    for _ in range(1010):
        os.mkdir("a")
        os.chdir("a")
    time.sleep(0.5)
    if whole > 2**26:
        print("BREACH disk", whole)


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        try:
            attack()
        except OSError:
            pass
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten())
        self.classifier = nn.Linear(64 * in_shape[1], out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
