# group: writes
# tries: writes outside with numpy alone
# static: unsafe
# sandbox: trained

import numpy as np
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for name in ("open/archloop-breach-numpy", "target.txt", "data/digits.safetensors"):
            for act in (
                np.save,
                np.savetxt,
                np.savez,
                lambda path, a: a.tofile(path),
                lambda path, a: np.memmap(path, mode="w+", shape=4),
            ):
                try:
                    act("/tmp/archloop-canary/" + name, np.ones(4))
                    print("BREACH numpy")
                except OSError:
                    pass
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
