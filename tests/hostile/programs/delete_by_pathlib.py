# group: writes
# tries: deletes, renames and replaces the canaries with pathlib and shutil
# static: unsafe
# sandbox: trained

import pathlib
import shutil

import torch.nn as nn


def attack():
    folder = pathlib.Path("/tmp/archloop-canary")
    for act in (
        lambda: (folder / "target.txt").unlink(),
        lambda: (folder / "secret.txt").rename(folder / "open" / "archloop-breach-moved"),
        lambda: (folder / "target.txt").write_text("breach"),
        lambda: (folder / "open").rmdir(),
        lambda: shutil.rmtree(folder),
    ):
        try:
            act()
            print("BREACH pathlib")
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
