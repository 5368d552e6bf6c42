# group: secrets
# tries: reads files through torch, numpy and linecache, which need no open
# static: unsafe
# sandbox: trained

import linecache
import runpy
import tokenize

import numpy as np
import torch
import torch.nn as nn

SECRET = "/tmp/archloop-canary/secret.txt"


def attack():
    for name, read in {
        "fromfile": lambda: np.fromfile(SECRET, dtype=np.uint8).tobytes(),
        "memmap": lambda: bytes(np.memmap(SECRET, dtype=np.uint8, mode="r")),
        "from_file": lambda: bytes(torch.from_file(SECRET, size=20, dtype=torch.uint8, device="cpu").tolist()),
        "linecache": lambda: linecache.getlines(SECRET) or 1 / 0,
        "loadtxt": lambda: np.loadtxt(SECRET, dtype=str),
        "tokenize": lambda: tokenize.open(SECRET).read(),
        "runpy": lambda: runpy.run_path(SECRET),
        "torch.load": lambda: torch.load(SECRET),
    }.items():
        try:
            content = read()
            print("BREACH", name, content)
        except Exception:
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
