# group: devices
# tries: opens the devices of the machine: disks, memory, terminals, accelerators
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    for name in (
        "mem",
        "kmem",
        "port",
        "kmsg",
        "sda",
        "vda",
        "nvme0n1",
        "loop-control",
        "fuse",
        "kvm",
        "ptmx",
        "tty",
        "console",
        "shm",
        "mqueue",
        "snd",
        "input",
    ):
        try:
            os.open(f"/dev/{name}", os.O_RDONLY)
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
