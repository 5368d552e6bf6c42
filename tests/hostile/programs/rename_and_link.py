# group: writes
# tries: moves and links canaries into its folder and its own files out
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    try:
        os.close(os.open("mine", os.O_CREAT | os.O_WRONLY, 0o666))
    except OSError:
        pass
    target, out = "/tmp/archloop-canary/target.txt", "/tmp/archloop-canary/open/archloop-breach-link"
    for act in (os.link, os.rename, os.replace):
        for source, destination in ((target, "stolen"), ("mine", out), ("mine", target), (target, out)):
            try:
                act(source, destination)
                print("BREACH", act.__name__, source)
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
