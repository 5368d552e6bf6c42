# group: imports
# tries: does its deeds while it is imported, before there is a network
# static: unsafe
# sandbox: trained

import os
import sys

import torch.nn as nn

for path in ("/tmp/archloop-canary/target.txt", "/tmp/archloop-canary/open/archloop-breach-import"):
    try:
        os.open(path, os.O_CREAT | os.O_WRONLY, 0o666)
        print("BREACH import")
    except OSError:
        pass
sys.path.insert(0, "/tmp/archloop-canary/open")
os.environ["LD_PRELOAD"] = "/tmp/archloop-canary/open/breach.so"
os.umask(0)
os.chdir("/")


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
