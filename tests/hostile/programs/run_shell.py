# group: bombs
# tries: runs a shell that writes a file outside
# static: unsafe
# sandbox: trained

import os
import subprocess

import torch.nn as nn

COMMAND = "touch /tmp/archloop-canary/open/archloop-breach-shell; sleep 20"


def attack():
    for way in (os.system, os.popen, lambda c: subprocess.Popen(["/bin/sh", "-c", c])):
        try:
            way(COMMAND + " &")
        except OSError:
            continue
    try:
        os.posix_spawn("/bin/sh", ["sh", "-c", COMMAND], {})
        print("BREACH posix_spawn")
    except OSError:
        pass


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
