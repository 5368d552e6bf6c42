# group: devices
# tries: pushes keystrokes into a terminal that it may have inherited
# static: unsafe
# sandbox: trained

import fcntl
import os
import termios

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for number in range(64):
            try:
                fcntl.ioctl(number, termios.TIOCSTI, b"\n")
                print("BREACH TIOCSTI", number)
            except OSError:
                pass
        try:
            os.open("/dev/tty", os.O_RDWR)
            print("BREACH tty")
        except OSError:
            pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
