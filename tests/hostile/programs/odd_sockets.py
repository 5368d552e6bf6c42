# group: network
# tries: opens netlink, raw, packet, vsock, alg, bluetooth and pair sockets by system call
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    for name, *call in (
        ("netlink", 41, 16, 3, 0),
        ("audit", 41, 16, 3, 9),
        ("raw", 41, 2, 3, 1),
        ("packet", 41, 17, 3, 0),
        ("vsock", 41, 40, 1, 0),
        ("crypto", 41, 38, 5, 0),
        ("bluetooth", 41, 31, 3, 0),
        ("ipv6", 41, 10, 1, 0),
        ("mptcp", 41, 2, 1, 262),
        ("xdp", 41, 44, 3, 0),
    ):
        if libc.syscall(*call) >= 0:
            print(f"BREACH {name}")
    pair = (ctypes.c_int * 2)()
    if libc.syscall(53, 1, 1, 0, pair) == 0:
        print("BREACH socketpair")


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
