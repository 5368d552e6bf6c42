# group: network
# tries: opens a store and a process group of torch.distributed
# static: unsafe
# sandbox: trained

import datetime
import os

import torch.distributed as dist
import torch.nn as nn

SOON = datetime.timedelta(seconds=0.2)


def write_to_a_file():
    folder = "/tmp/archloop-canary/open"
    os.stat(folder)  # a store waits five minutes for one that is not there
    dist.FileStore(f"{folder}/archloop-breach-store", 1).set("a", "b")


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for act in (
            lambda: dist.TCPStore("127.0.0.1", 45671, is_master=False, timeout=SOON),
            lambda: dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=SOON),
            write_to_a_file,
        ):
            try:
                act()
                print("BREACH distributed")
            except Exception:
                pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
