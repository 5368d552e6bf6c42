# group: forgery
# tries: answers with facts of the wrong types: NaN, huge numbers, nested lists, markup
# static: unsafe
# sandbox: crashed
# below: 0.4

import json
import os
import struct

import torch.nn as nn

FACTS = (
    {"outcome": "admitted", "accuracy": 1.0},
    {"outcome": ["trained"], "parameters": "many"},
    {"outcome": "trained", "parameters": float("nan"), "losses": [float("inf")] * 10, "detail": {"a": 1}},
    {"outcome": "trained", "parameters": 10**400, "multiply_adds": -1, "losses": "x" * 100_000},
    {"outcome": "<script>alert(1)</script>", "detail": "\x1b[2J<img src=x onerror=alert(1)>"},
    {"outcome": "trained", "graph": {"digest": "../../etc/passwd", "nodes": [[]] * 10_000}},
)


def attack():
    for facts in FACTS:
        header = json.dumps(facts).encode()
        for form in (header + b"\n" + bytes(180), struct.pack("<I", len(header)) + header + bytes(180)):
            for number in range(3, 1024):
                try:
                    os.set_blocking(number, False)
                    os.write(number, form)
                except OSError:
                    continue
    os._exit(0)


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
