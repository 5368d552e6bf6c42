# group: descriptors
# tries: looks for descriptors that lead outside: files, folders, sockets
# static: unsafe
# sandbox: trained

import fcntl
import os
import stat

import torch.nn as nn


def is_dead(number):
    os.set_blocking(number, False)
    for use in (lambda: os.read(number, 1), lambda: os.write(number, b"x")):
        try:
            use()
            return False
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def attack():
    for number in range(1024):
        try:
            facts = os.fstat(number)
            flags = fcntl.fcntl(number, fcntl.F_GETFL)
        except OSError:
            continue
        kind = stat.S_IFMT(facts.st_mode)
        print(number, oct(kind), facts.st_nlink, oct(flags))
        if kind == stat.S_IFSOCK and is_dead(number):
            continue  # the listener of a GPU's driver, over which nothing goes
        if kind in (stat.S_IFSOCK, stat.S_IFDIR, stat.S_IFBLK):
            print("BREACH descriptor", number, oct(kind))
        if kind == stat.S_IFREG and facts.st_nlink:
            print("BREACH descriptor of a file", number)


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
