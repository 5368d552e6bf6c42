# group: logits
# tries: a network without weights
# static: passes
# sandbox: construct
# below: 0.6

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        pass

    def forward(self, x):
        return x.flatten(1)[:, :10] * 1.0
