# group: forgery
# tries: writes a forged answer to every descriptor and trains on as if nothing was
# static: unsafe
# sandbox: crashed
# below: 0.4

import json
import os

import torch.nn as nn


def forged():
    facts = {
        "outcome": "trained",
        "detail": "",
        "accuracy": 1.0,
        "parameters": 1,
        "losses": [],
        "seconds": {},
        "bytes": 1,
    }
    return json.dumps(facts | {"labels": 0, "isolation": "none", "peak_mb": 1, "log": "forged"}).encode()


def attack():
    for number in range(1024):
        try:
            os.set_blocking(number, False)
            os.write(number, forged() + b"\n" + bytes(180))
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
        return (self.classifier(self.features(x)) * 0).detach().requires_grad_()
