# group: writes
# tries: reopens descriptors for writing through /proc/self/fd and /dev/fd, and climbs out of its folder
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    for folder in ("/proc/self/fd", "/proc/thread-self/fd", "/dev/fd"):
        for number in range(64):
            try:
                where = os.readlink(f"{folder}/{number}")
                descriptor = os.open(f"{folder}/{number}", os.O_RDWR)
            except OSError:
                continue
            if where.startswith("/tmp/archloop-canary"):
                os.write(descriptor, b"breach")
                print("BREACH", where)
            os.close(descriptor)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    for depth in range(1, 12):
        path = "../" * depth + "tmp/archloop-canary/open/archloop-breach-climb"
        for folder in (here, None):
            try:
                os.open(path, os.O_CREAT | os.O_WRONLY, 0o666, dir_fd=folder)
                print("BREACH openat", depth)
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
