# group: exits
# tries: recurses until the C stack ends
# static: unsafe
# sandbox: crashed

import sys

import torch.nn as nn


class Deep:
    def __repr__(self):
        return repr(self)


def dive(depth):
    return sorted([depth, depth + 1], key=lambda _: dive(depth + 1))


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        sys.setrecursionlimit(10**9)
        dive(0)
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
