# group: kernel
# tries: raises its limits, and sets those of its parent
# static: unsafe
# sandbox: trained

import ctypes
import os
import resource

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def has_a_driver():
    """Say whether this is the sandbox for a GPU, whose driver reserves address space without end: it has no limit."""
    try:
        open("/proc/self/status").close()
        return True
    except OSError:
        return False


def attack():
    endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_NPROC"):
        which = getattr(resource, name)
        before = resource.getrlimit(which)
        promised = name in ("RLIMIT_FSIZE", "RLIMIT_NOFILE") or (name == "RLIMIT_AS" and not has_a_driver())
        if promised and before[1] == resource.RLIM_INFINITY:
            print("BREACH no limit", name)
        for limit in (endless, (before[1], 2**40)):
            try:
                resource.setrlimit(which, limit)
            except (OSError, ValueError):
                continue
        if before[1] != resource.RLIM_INFINITY and resource.getrlimit(which)[1] == resource.RLIM_INFINITY:
            print("BREACH raised", name)
    if os.getppid() > 0:
        try:
            resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (64, 64))
            print("BREACH limits of the parent")
        except OSError:
            pass


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
