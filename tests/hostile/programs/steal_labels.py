# group: secrets
# tries: looks for the prepared data set with the labels that score it
# static: unsafe
# sandbox: trained

import glob
import os

import torch.nn as nn


def attack():
    places = [
        "/tmp/archloop-canary/data",
        ".",
        "..",
        "../..",
        "/",
        os.path.expanduser("~"),
        "/tmp",
        "/var/tmp",
        "/dev/shm",
    ]
    for place in places:
        for pattern in ("*.safetensors", "resources/datasets/*", "results/*", "*/data.safetensors", "*/*.safetensors"):
            for path in glob.glob(f"{place}/{pattern}"):
                try:
                    with open(path, "rb") as opened:
                        head = opened.read(100_000)
                except OSError:
                    continue
                if b"validation_labels" in head or b"test_labels" in head:
                    print("BREACH labels in", path)


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
