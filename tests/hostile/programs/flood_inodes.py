# group: floods
# tries: makes thirty thousand empty files and folders
# static: unsafe
# sandbox: trained
# landlock: crashed

import os

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        made = 0
        for number in range(30_000):
            try:
                os.mkdir(f"d{number}") if number % 2 else os.close(os.open(f"f{number}", os.O_CREAT))
                made += 1
            except OSError:
                break
        if made == 30_000:
            print("BREACH inodes", made)
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
