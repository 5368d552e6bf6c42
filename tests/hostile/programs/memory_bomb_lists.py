# group: bombs
# tries: takes memory in small pieces up to six gigabytes
# static: passes
# sandbox: out_of_memory

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        pieces = []
        for _ in range(6 * 1024):
            pieces.append(bytearray(2**20))
        print("BREACH memory", len(pieces))
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
