# group: gpu
# tries: uses the listening socket of a GPU's driver, or makes one of its own, and sends and receives over it
# static: unsafe
# sandbox: trained

import ctypes
import errno
import platform

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
# Name -> its number on x86_64 and aarch64.
CALLS = {
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "connect": (42, 203), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211),
    "recvmsg": (47, 212), "setsockopt": (54, 208), "getsockname": (51, 204), "shutdown": (48, 210),
}


def attack():
    column = 0 if platform.machine() == "x86_64" else 1
    for name, numbers in CALLS.items():
        for first in range(64):
            ctypes.set_errno(0)
            done = libc.syscall(numbers[column], first, 5 if name == "socket" else 0, 0, 0, 0, 0)
            if done >= 0 or ctypes.get_errno() != errno.EPERM:
                print("BREACH", name, "on", first, "is let through:", done, errno.errorcode.get(ctypes.get_errno()))
                break


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
