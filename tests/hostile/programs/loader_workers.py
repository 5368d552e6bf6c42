# group: bombs
# tries: loads data with worker processes
# static: passes
# sandbox: trained

import torch
import torch.nn as nn
from torch.utils.data import DataLoader


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        try:
            for _ in DataLoader(torch.zeros(8, 1, device="cpu"), num_workers=4, timeout=3):
                print("BREACH worker")
        except (OSError, RuntimeError):
            pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
