# group: network
# tries: sets up io_uring, whose operations pass by a filter of system calls
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        parameters = (ctypes.c_uint8 * 120)()
        if libc.syscall(425, 4, ctypes.byref(parameters)) >= 0:
            print("BREACH io_uring")
        for number in (426, 427):
            if libc.syscall(number, -1, 0, 0, 0, 0, 0) >= 0:
                print("BREACH io_uring")
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
