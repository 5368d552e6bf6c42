# A dataclass as configuration, typing, math and functools.partial.
import math
from dataclasses import dataclass, field
from functools import partial
from typing import List, Optional

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum", "dropout"}


@dataclass
class Config:
    widths: List[int] = field(default_factory=lambda: [8, 16])
    kernel: int = 3
    dropout: Optional[float] = None


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.device = device
        config = Config(dropout=prm.get("dropout", 0.1))
        conv = partial(nn.Conv2d, kernel_size=config.kernel, stride=2, padding=config.kernel // 2)
        layers: List[nn.Module] = []
        channels = in_shape[1]
        for width in config.widths:
            layers += [conv(channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.dropout = nn.Dropout(config.dropout or 0.0)
        self.classifier = nn.Linear(channels * 16, out_shape[0])
        nn.init.normal_(self.classifier.weight, std=1 / math.sqrt(channels * 16))

    def forward(self, x):
        return self.classifier(self.dropout(self.features(x)))
