"""A program that is a single layer, with places for what a test wants it to do as it is built and as it is run."""

LINEAR = """
import torch
import torch.nn as nn

def supported_hyperparameters():
    return {"lr", "momentum"}

class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.head = nn.Linear(in_shape[1] * in_shape[2] * in_shape[3], out_shape[0])
        INIT

    def forward(self, x):
        FORWARD
        return self.head(x.flatten(1))
"""


def net(init: str = "pass", forward: str = "pass") -> str:
    """Return the program. init, forward: lines that run there; further ones bring their indent along."""
    return LINEAR.replace("INIT", init).replace("FORWARD", forward)
