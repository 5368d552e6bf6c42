# group: writes
# tries: opens files outside with the builtin open, io and codecs
# static: unsafe
# sandbox: trained

import codecs
import io
import tempfile

import torch.nn as nn


def attack():
    for way in (open, io.open, io.FileIO, codecs.open):
        for mode in ("w", "a", "r+"):
            try:
                way("/tmp/archloop-canary/target.txt", mode)
                print("BREACH open")
            except OSError:
                continue
    for place in ("/tmp/archloop-canary/open", "/tmp", "/var/tmp", "/dev/shm"):
        try:
            tempfile.NamedTemporaryFile(dir=place, prefix="archloop-breach-", delete=False)
            print("BREACH tempfile")
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
