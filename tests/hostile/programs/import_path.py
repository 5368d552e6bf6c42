# group: imports
# tries: puts modules of its own where later imports look
# static: unsafe
# sandbox: trained

import os
import site
import sys

import torch
import torch.nn as nn


def attack():
    for folder in [path for path in sys.path if path] + [os.path.dirname(torch.__file__), ".", *site.getsitepackages()]:
        for name in ("sitecustomize.py", "archloop-breach.pth", "archloop_breach.py", "usercustomize.py"):
            try:
                with open(os.path.join(folder, name), "x") as opened:
                    opened.write("print('BREACH later import')")
                if os.path.realpath(folder) != os.path.realpath("."):
                    print("BREACH", folder)
            except OSError:
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
