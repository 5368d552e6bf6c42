# group: bombs
# tries: an autograd graph that grows without end
# static: passes
# sandbox: timeout, out_of_memory
# why: which of time and memory ends first is a matter of the machine
# timeout: 1

import torch.nn as nn


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
        y = self.classifier(self.features(x))
        for _ in range(10**8):
            y = y + 0.0 * y.sin()
        return y
