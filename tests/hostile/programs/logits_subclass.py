# group: logits
# tries: a tensor subclass that says what the judge wants to hear
# static: unsafe
# sandbox: forward
# below: 0.4

import torch
import torch.nn as nn


class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), settings=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments, **(settings or {}))
        if "argmax" in str(function):
            print("asked for predictions")
        return result


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return (self.classifier(self.features(x)) * 0).as_subclass(Liar)
