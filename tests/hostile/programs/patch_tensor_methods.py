# group: patches
# tries: replaces argmax, split, backward and item of tensors
# static: unsafe
# sandbox: trained
# below: 0.4

import torch
import torch.nn as nn

torch.Tensor.argmax = lambda self, *_, **__: torch.zeros(len(self), dtype=torch.int64)
torch.Tensor.item = lambda self: 0.0
torch.Tensor.backward = lambda self, *_, **__: None


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
        return self.classifier(self.features(x)) * 0
