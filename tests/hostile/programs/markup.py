# group: text
# tries: prints and raises HTML, so that a report would run it
# static: passes
# sandbox: construct

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        print("<script>alert(1)</script><img src=x onerror=alert(1)></pre>{{ 7 * 7 }}{% raw %}")
        raise ValueError("</td></table><script>alert('archloop')</script>&lt;\x1b[31m")
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
