# group: network
# tries: asks name servers
# static: unsafe
# sandbox: trained

import socket

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for ask in (
            lambda: socket.getaddrinfo("localhost", 45671),
            lambda: socket.gethostbyname("archloop-canary.invalid"),
            socket.getfqdn,
        ):
            try:
                ask()
            except OSError:
                pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
