# group: text
# tries: an exception whose text cannot be made: __str__ raises, loops or is no text
# static: passes
# sandbox: construct

import torch.nn as nn


class Odd(Exception):
    def __str__(self):
        raise Odd("again")

    def __repr__(self):
        return 7

    __name__ = 7


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        raise Odd("odd")
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
