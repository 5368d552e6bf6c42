# group: writes
# tries: makes databases and log files outside
# static: unsafe
# sandbox: trained

import dbm.dumb
import logging
import shelve
import sqlite3

import torch.nn as nn

OPEN = "/tmp/archloop-canary/open/archloop-breach-"


def attack():
    for act in (
        lambda: sqlite3.connect(OPEN + "sqlite").execute("create table t (a)"),
        lambda: dbm.dumb.open(OPEN + "dbm", "c"),
        lambda: shelve.open(OPEN + "shelf"),
        lambda: logging.FileHandler(OPEN + "log"),
    ):
        try:
            act()
            print("BREACH database")
        except Exception:
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
