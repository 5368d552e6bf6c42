# group: introspection
# tries: walks the frames below it for labels and locals of the trainer
# static: unsafe
# sandbox: trained
# below: 0.999

import inspect
import sys

import torch.nn as nn


def labels_among(things):
    """Print BREACH for labels that are not those of training: as many as there are images to predict."""
    tensors = []
    for thing in things:
        try:
            if type(thing).__name__ in ("Tensor", "ndarray") and str(getattr(thing, "device", "cpu")) == "cpu":
                tensors.append(thing)
        except Exception:
            continue
    counts = {len(each) for each in tensors if each.ndim == 4 and each.shape[1:] == (1, 32, 32)}
    for each in tensors:
        if each.ndim == 1 and len(each) in counts and not each.dtype.__str__().startswith(("float", "torch.float")):
            print("sees labels of", len(each))
            if len(each) < 300 and len(set(each.tolist())) == 10:
                print("BREACH sees labels that score")


def attack():
    frame = sys._getframe()
    while frame is not None:
        labels_among(frame.f_locals.values())
        labels_among(frame.f_globals.values())
        for value in list(frame.f_locals.values()):
            if isinstance(value, dict):
                print(list(value)[:20])
                labels_among(value.values())
        frame = frame.f_back
    labels_among([value for info in inspect.stack() for value in info.frame.f_locals.values()])


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
