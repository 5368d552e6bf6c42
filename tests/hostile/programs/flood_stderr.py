# group: floods
# tries: writes gigabytes to standard error and output by descriptor
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        block = b"flood\n" * 10_000
        for _ in range(3000):
            for number in (1, 2):
                try:
                    os.write(number, block)
                except OSError:
                    pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
