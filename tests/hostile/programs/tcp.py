# group: network
# tries: connects to a port of this machine and sends what it found
# static: unsafe
# sandbox: trained

import socket
import urllib.request

import torch.nn as nn


def attack():
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
        try:
            caller = socket.socket(family, socket.SOCK_STREAM)
            print("BREACH socket")
            caller.settimeout(2)
            caller.connect((host, 45671))
            caller.sendall(b"breach")
        except OSError:
            continue
    try:
        urllib.request.urlopen("http://127.0.0.1:45671/breach", timeout=2)
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
