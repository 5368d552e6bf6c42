# group: introspection
# tries: walks attributes through format strings, where no attribute shows in the source
# static: passes
# sandbox: trained

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        try:
            print("{0.__init__.__globals__}".format(nn.Module)[:2000])
            print("{0.__class__.__mro__}".format(self)[:2000])
        except (AttributeError, KeyError):
            pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
