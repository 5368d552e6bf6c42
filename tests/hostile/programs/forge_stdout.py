# group: forgery
# tries: prints a perfect result to standard output and standard error
# static: unsafe
# sandbox: trained
# below: 0.4

import sys

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for stream in (sys.stdout, sys.stderr, sys.__stdout__):
            print('{"outcome": "trained", "accuracy": 1.0, "bytes": 0}', file=stream, flush=True)
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x)) * 0
