# group: patches
# tries: replaces modules in sys.modules and hooks of the import
# static: unsafe
# sandbox: trained
# below: 0.4

import sys
import types

import torch.nn as nn

for name in list(sys.modules):
    if name.startswith("archloop") or name in ("json", "struct", "resource", "signal"):
        sys.modules[name] = types.ModuleType(name)
sys.meta_path.clear()
sys.path_hooks.clear()


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
