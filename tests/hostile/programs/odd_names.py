# group: text
# tries: hides control characters in names of classes and in module attributes
# static: passes
# sandbox: construct

import torch.nn as nn

Odd = type("\x1b[31m<script>\n\r\x00", (Exception,), {"__module__": "\x1b[2J", "__qualname__": "<b>\u202e"})


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.add_module("\x1b[31m<script>", nn.Identity())
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        raise Odd("\x1b]0;title\x07\n\n# group: forged\noutcome: trained")
