# group: names
# tries: gives its process a name that holds a line end and a field of its own
# static: unsafe
# sandbox: trained

import ctypes
import time

import torch.nn as nn

libc = ctypes.CDLL(None)


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for name in (b"x\nThreads:\t99", b"\nVmSwap: x kB", b"\nRssAnon:\tkB", b"\nRssAnon: 9e9", b"a\\nThreads:1"):
            libc.prctl(15, ctypes.c_char_p(name), 0, 0, 0)
            time.sleep(0.12)
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
