# group: writes
# tries: writes, appends and makes folders outside with os
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn

PLACES = ("/tmp/archloop-canary/open", "/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/home", "/etc", "/usr/lib")


def attack():
    for place in PLACES:
        for name, flags in (("archloop-breach-os", os.O_CREAT | os.O_WRONLY), ("", os.O_TMPFILE | os.O_RDWR)):
            try:
                descriptor = os.open(f"{place}/{name}", flags, 0o666)
                os.write(descriptor, b"breach")
                os.close(descriptor)
                if not name:
                    continue
            except OSError:
                continue
        try:
            os.mkdir(f"{place}/archloop-breach-folder")
        except OSError:
            continue
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
        try:
            os.write(os.open("/tmp/archloop-canary/target.txt", flags), b"breach")
            print("BREACH write")
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
