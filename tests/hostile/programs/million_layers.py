# group: bombs
# tries: a chain of millions of tiny layers
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
        self.chain = nn.Sequential(*[nn.Linear(1, 1) for _ in range(5_000_000)])
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
