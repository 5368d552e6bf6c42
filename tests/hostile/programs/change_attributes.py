# group: writes
# tries: changes mode, owner, times and extended attributes of the canaries
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    for path in ("/tmp/archloop-canary/target.txt", "/tmp/archloop-canary/open", "/tmp/archloop-canary/secret.txt"):
        for name, act in {
            "chmod": lambda: os.chmod(path, 0o777),
            "chown": lambda: os.chown(path, os.getuid(), os.getgid()),
            "lchown": lambda: os.lchown(path, -1, -1),
            "utime": lambda: os.utime(path, (1, 1)),
            "utime now": lambda: os.utime(path),
            "setxattr": lambda: os.setxattr(path, "user.archloop", b"breach"),
        }.items():
            try:
                act()
                print("BREACH", name)
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
