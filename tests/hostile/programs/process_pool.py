# group: bombs
# tries: starts a pool of worker processes
# static: unsafe
# sandbox: trained

import multiprocessing

import torch.nn as nn


def attack():
    try:
        with multiprocessing.get_context("fork").Pool(8) as pool:
            print("BREACH pool", pool.map(abs, range(8)))
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
