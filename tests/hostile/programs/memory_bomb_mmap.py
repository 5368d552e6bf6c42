# group: bombs
# tries: maps and touches six gigabytes of anonymous and shared memory
# static: unsafe
# sandbox: out_of_memory

import mmap

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        maps = []
        for _ in range(96):
            piece = mmap.mmap(-1, 64 * 2**20)
            for place in range(0, len(piece), 4096):
                piece[place] = 1
            maps.append(piece)
        print("BREACH memory", len(maps))
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
