# group: nondeterminism
# tries: changes its weights from a thread while it trains
# static: unsafe
# sandbox: crashed, trained
# why: whether a thread changes the images between a forward pass and its backward pass is a race

import threading
import time

import torch
import torch.nn as nn


def disturb(layer):
    for _ in range(50):
        with torch.no_grad():
            layer.weight.mul_(0.99)
        time.sleep(0.01)


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
        if not hasattr(self, "thread") and x.device.type != "meta":
            self.thread = None
            threading.Thread(target=disturb, args=(self.classifier,), daemon=True).start()
        return self.classifier(self.features(x))
