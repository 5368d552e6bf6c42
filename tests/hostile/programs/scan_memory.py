# group: secrets
# tries: searches its own memory for secrets that a fork may have left there
# static: unsafe
# sandbox: trained

import gc

import torch.nn as nn

NAME = "ARCHLOOP_CANARY" + "_SECRET"


def attack():
    for thing in gc.get_objects():
        try:
            if isinstance(thing, dict) and NAME in thing:
                print("BREACH", thing[NAME])
            if type(thing).__name__ in ("_Environ", "Popen", "Judge", "Server"):
                print("BREACH", type(thing).__name__)
        except Exception:
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
