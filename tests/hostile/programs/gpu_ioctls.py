# group: gpu
# tries: controls devices that are no GPU, and the driver's calls that computing does not need
# static: unsafe
# sandbox: trained

import ctypes
import errno
import os

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
# Typing into a terminal, becoming its owner, making a disk read-only, flags of a file, a tunnel, a virtual machine, and of
# the driver: reading and writing other processes' memory (62, 63), its numbers for graphics, a number of another type.
NUMBERS = [0x5412, 0x541C, 0x540E, 0x125D, 0x40086602, 0x400454CA, 0xAE01, 62, 63, 0xC0204654, 0xC0204657, 0xC020472A]
OF_THE_DRIVER = (0xC020462A, 0xC03046C8, 37, 0x30000001)


def attack():
    try:
        listed = os.listdir("/dev")
    except OSError:
        listed = []
    for device in ("/dev/null", "/dev/zero", "/dev/urandom", "mine", *(f"/dev/{name}" for name in listed)):
        try:
            opened = os.open(device, os.O_RDWR | (os.O_CREAT if device == "mine" else 0))
        except OSError:
            continue
        buffer = ctypes.create_string_buffer(4096)
        for number in NUMBERS:
            if libc.ioctl(opened, ctypes.c_ulong(number), buffer) != -1 or ctypes.get_errno() != errno.EPERM:
                print("BREACH", hex(number), "on", device, errno.errorcode.get(ctypes.get_errno()))
        for number in OF_THE_DRIVER:
            if "nvidia" not in device and libc.ioctl(opened, ctypes.c_ulong(number), buffer) != -1:
                print("BREACH", hex(number), "on", device, "is done")
        os.close(opened)


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
