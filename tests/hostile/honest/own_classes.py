# An autograd function, a property, a static method, checkpointed blocks, numpy for a table.
import numpy as np
import torch
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return gradient * (s + x * s * (1 - s))


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        widths = np.linspace(8, 16, 2).astype(int).tolist()
        self.first = nn.Conv2d(in_shape[1], widths[0], 5, stride=2)
        self.rest = nn.ModuleList(nn.Conv2d(widths[0], widths[0], 3, padding=1, groups=2) for _ in range(2))
        self.last = nn.Conv2d(widths[0], widths[1], 1)
        self.head = nn.Linear(self.width * 16, out_shape[0])

    @property
    def width(self):
        return self.last.out_channels

    @staticmethod
    def pool(x):
        return nn.functional.adaptive_avg_pool2d(x, (4, 4))

    def forward(self, x):
        x = Swish.apply(self.first(x))
        for layer in self.rest:
            x = x + layer(x)
        return self.head(self.pool(self.last(x)).flatten(1))
