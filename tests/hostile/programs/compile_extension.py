# group: imports
# tries: compiles and loads a C++ extension
# static: unsafe
# sandbox: trained

import torch.nn as nn
from torch.utils import cpp_extension


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        try:
            cpp_extension.load_inline(
                "breach", "int one() { return 1; }", functions=["one"], build_directory="/tmp/archloop-canary/open"
            )
            print("BREACH extension")
        except BaseException:
            pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
