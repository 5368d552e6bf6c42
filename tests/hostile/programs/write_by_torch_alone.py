# group: writes
# tries: writes outside with torch alone: a program that an import list lets through
# static: unsafe
# sandbox: trained

import torch
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for name in ("open/archloop-breach-save", "target.txt", "data/digits.safetensors"):
            try:
                torch.save({"breach": 1}, "/tmp/archloop-canary/" + name)
                print("BREACH torch.save")
            except (OSError, RuntimeError):
                pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
