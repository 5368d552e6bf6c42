# group: persistence
# tries: leaves files in caches of the home, of torch and of matplotlib
# static: unsafe
# sandbox: trained

import os
import pathlib

import torch
import torch.nn as nn


def attack():
    homes = {
        os.path.expanduser("~"),
        "/root",
        "/home",
        "/tmp/archloop-canary/home",
        os.environ.get("XDG_CACHE_HOME", "/root/.cache"),
    }
    for home in homes:
        for name in (
            ".cache/torch/hub/checkpoints",
            ".cache/archloop-breach",
            ".torch",
            ".config/archloop-breach",
            ".local/lib",
        ):
            try:
                folder = pathlib.Path(home, name)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "archloop-breach").write_text("breach")
            except OSError:
                continue
    torch.hub.set_dir("/tmp/archloop-canary/open/archloop-breach-hub")


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
