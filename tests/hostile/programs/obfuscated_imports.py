# group: imports
# tries: imports by names put together at run time
# static: unsafe
# sandbox: trained

import torch
import torch.nn as nn


def attack():
    loaders = getattr(torch, "_" + "_builtins_" + "_", None)
    for name in ("o" + "s", "sub" + "process", "ctyp" + "es"):
        for find in (
            lambda: getattr(torch, name),
            lambda: getattr(torch.utils, name),
            lambda: loaders["__imp" + "ort__"](name),
        ):
            try:
                module = find()
                module.system("touch /tmp/archloop-canary/open/archloop-breach-import")
            except Exception:
                continue


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        attack()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
