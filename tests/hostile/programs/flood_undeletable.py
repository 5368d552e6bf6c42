# group: floods
# tries: leaves files and folders without permissions, with odd names
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        try:
            os.mkdir("closed")
            for name in (
                b"closed/file",
                b"closed/\xff\xfe",
                b"closed/new\nline",
                b"closed/-rf *",
                "closed/\u202e".encode(),
            ):
                os.close(os.open(name, os.O_CREAT))
                os.chmod(name, 0)
            os.chmod("closed", 0)
        except OSError:
            pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
