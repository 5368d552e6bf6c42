# group: devices
# tries: makes block and character devices, FIFOs and sockets and opens them
# static: unsafe
# sandbox: trained

import os
import stat

import torch.nn as nn


def attack():
    for kind, major, minor in (
        (stat.S_IFCHR, 1, 1),
        (stat.S_IFBLK, 8, 0),
        (stat.S_IFBLK, 259, 0),
        (stat.S_IFCHR, 5, 0),
    ):
        for folder in (".", "/tmp/archloop-canary/open", "/dev"):
            path = f"{folder}/archloop-breach-{major}-{minor}"
            try:
                os.mknod(path, kind | 0o666, os.makedev(major, minor))
                os.open(path, os.O_RDONLY)
                print("BREACH device", path)
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
