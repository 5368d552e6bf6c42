# group: text
# tries: an exception whose text leaves the process
# static: unsafe
# sandbox: crashed

import os

import torch.nn as nn


class Odd(Exception):
    def __str__(self):
        os._exit(0)


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        raise Odd("odd")
