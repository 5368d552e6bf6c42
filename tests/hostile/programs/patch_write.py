# group: patches
# tries: replaces os.write and struct.pack by ones that send something else
# static: unsafe
# sandbox: crashed
# below: 0.4

import os
import struct

import torch.nn as nn

write = os.write
os.write = lambda descriptor, data: write(descriptor, bytes(len(data))) and len(data)
struct.pack = lambda form, *values: bytes(struct.calcsize(form))


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
