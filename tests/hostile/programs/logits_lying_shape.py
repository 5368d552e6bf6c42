# group: logits
# tries: a tensor subclass whose shape is a lie
# static: passes
# sandbox: forward
# below: 0.999

import torch
import torch.nn as nn


class Liar(torch.Tensor):
    @property
    def shape(self):
        return torch.Size((16, 10))

    def __len__(self):
        return 16


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
        return self.classifier(self.features(x))[:, :3].as_subclass(Liar)
