# group: network
# tries: opens a server that others can reach
# static: unsafe
# sandbox: trained

import socket

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for family, address in (
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_UNIX, "\0archloop-breach"),
            (socket.AF_UNIX, "mine.sock"),
        ):
            try:
                server = socket.socket(family)
                server.bind(address)
                server.listen()
                print("BREACH listens")
            except OSError:
                pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
