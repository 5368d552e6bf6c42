# group: persistence
# tries: patches modules in memory and looks whether an earlier run's patch is still there
# static: unsafe
# sandbox: trained
# repeat: 2

import torch
import torch.nn as nn

if getattr(torch, "archloop_breach", None):
    print("BREACH the patch of another run is alive")
torch.archloop_breach = True
torch.nn.ReLU.forward = lambda self, x: x * 1.0
torch.set_default_dtype(torch.float32)
torch.backends.mkldnn.enabled = False


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
