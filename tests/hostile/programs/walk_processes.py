# group: secrets
# tries: lists processes, their descriptors and memory through /proc
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return
    for number in numbers:
        if int(number) == os.getpid():
            continue
        print("BREACH sees process", number)
        for name in ("fd", "task", "map_files"):
            try:
                print(number, name, os.listdir(f"/proc/{number}/{name}"))
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
