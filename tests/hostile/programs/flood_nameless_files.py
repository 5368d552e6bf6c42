# group: floods
# tries: fills files that never had a name
# static: unsafe
# sandbox: trained

import os
import time

import torch.nn as nn


def attack():
    held = []
    whole = 0
    for _ in range(8):
        held.append(os.open(".", os.O_TMPFILE | os.O_RDWR))
        whole += os.write(held[-1], bytes(15 * 2**20))
        time.sleep(0.1)
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
