# group: gpu
# tries: finds other processes in /proc and reads their memory, their environment and their descriptors
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


def attack():
    own = {str(os.getpid()), "self", "thread-self"}
    try:
        listed = os.listdir("/proc")
    except OSError:
        listed = []
    known = [name for name in listed if name.isdigit()] + [str(pid) for pid in range(1, 4000)]
    for pid in dict.fromkeys(known):
        if pid in own or os.path.exists(f"/proc/self/task/{pid}"):
            continue
        for name in ("environ", "mem", "maps", "cmdline", "status", "fd"):
            try:
                if name == "fd":
                    os.listdir(f"/proc/{pid}/{name}")
                else:
                    os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
            except OSError:
                continue
            print("BREACH reads", name, "of process", pid)
            return
    try:
        with open("/proc/self/environ", "rb") as opened:
            if b"SECRET" in opened.read().upper():
                print("BREACH a secret in its environment")
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
