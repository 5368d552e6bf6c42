# group: secrets
# tries: looks for the folders and files of other candidates
# static: unsafe
# sandbox: trained
# repeat: 2

import glob
import os

import torch.nn as nn


def attack():
    here = os.getcwd()
    found = [path for depth in ("..", "../..") for path in glob.glob(f"{here}/{depth}/*/archloop-breach-mine")]
    found += glob.glob("/tmp/archloop-*/*/archloop-breach-mine") + glob.glob("/tmp/archloop-*/archloop-breach-mine")
    for path in found:
        if os.path.dirname(os.path.realpath(path)) != os.path.realpath(here):
            print("BREACH sees", path)
    if os.path.exists("archloop-breach-mine") and not TRIED:
        print("BREACH finds a folder that was used before")
    TRIED.append(1)
    try:
        with open("archloop-breach-mine", "w") as opened:
            opened.write("mine")
    except OSError:
        pass


TRIED = []


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
