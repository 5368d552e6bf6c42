# group: writes
# tries: writes outside with torch.save and friends, which need no import
# static: unsafe
# sandbox: trained

import torch
import torch.nn as nn

OPEN = "/tmp/archloop-canary/open/archloop-breach-torch"


def attack():
    for act in (
        lambda: torch.save({"a": 1}, OPEN),
        lambda: torch.save({"a": 1}, "/tmp/archloop-canary/target.txt"),
        lambda: torch.from_file(OPEN, shared=True, size=16),
        lambda: torch.jit.script(nn.ReLU()).save(OPEN),
        lambda: torch.zeros(4).share_memory_(),
        lambda: torch.hub.set_dir("/tmp/archloop-canary/open/archloop-breach-hub"),
    ):
        try:
            act()
        except Exception:
            continue


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        with torch.device("cpu"):
            attack()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
