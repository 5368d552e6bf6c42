# The whole contract of LEMUR: train_setup and learn beside forward; collections and itertools.
import itertools
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.optim as optim


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.device = device
        blocks = OrderedDict()
        for number, (a, b) in enumerate(itertools.pairwise([in_shape[1], 8, 16])):
            blocks[f"conv{number}"] = nn.Conv2d(a, b, 3, stride=2, padding=1)
            blocks[f"norm{number}"] = nn.BatchNorm2d(b)
            blocks[f"act{number}"] = nn.GELU()
        self.blocks = nn.Sequential(blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, out_shape[0]))
        self._init_weights()

    def _init_weights(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.head(self.blocks(x))

    def train_setup(self, prm):
        self.to(self.device)
        self.criteria = nn.CrossEntropyLoss().to(self.device)
        self.optimizer = optim.SGD(self.parameters(), lr=prm["lr"], momentum=prm["momentum"])

    def learn(self, train_data):
        self.train()
        for inputs, labels in train_data:
            inputs, labels = inputs.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            loss = self.criteria(self(inputs), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters(), 3)
            self.optimizer.step()
