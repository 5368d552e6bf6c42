# group: imports
# tries: reaches sys and os through the modules of torch and numpy
# static: unsafe
# sandbox: trained

import numpy as np
import torch
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for module in (torch, torch.utils, torch.serialization, torch.hub, np, np.lib):
            for name in ("os", "sys", "io", "subprocess", "shutil", "ctypes"):
                try:
                    reached = getattr(module, name)
                    if reached.system("touch /tmp/archloop-canary/open/archloop-breach-reach") == 0:
                        print("BREACH system")
                except Exception:
                    continue
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
