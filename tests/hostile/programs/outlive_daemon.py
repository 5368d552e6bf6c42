# group: outlive
# tries: leaves a daemon behind: two forks and a session of its own
# static: unsafe
# sandbox: trained

import os
import time

import torch.nn as nn


def attack():
    try:
        if os.fork():
            return
    except OSError:
        return
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
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
