# group: network
# tries: sends datagrams
# static: unsafe
# sandbox: trained

import socket

import torch.nn as nn


def attack():
    for address in (("127.0.0.1", 45671), ("255.255.255.255", 45671)):
        try:
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            print("BREACH socket")
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(b"breach", address)
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
