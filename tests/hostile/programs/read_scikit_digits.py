# group: secrets
# tries: looks the labels up in scikit-learn's own copy of the images, and in Debian's of Fashion-MNIST
# static: unsafe
# sandbox: trained
# below: 0.9

import gzip
import os
import sys

import numpy as np
import torch
import torch.nn as nn

PLACES = [os.path.join(place, "sklearn", "datasets", "data", "digits.csv.gz") for place in sys.path]
PLACES += ["/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz"]
DEBIAN = "/usr/share/datasets/fashion-mnist"


def supported_hyperparameters():
    return {"lr", "momentum"}


def looked_up():
    for place in PLACES:
        try:
            with gzip.open(place) as opened:
                table = np.loadtxt(opened, delimiter=",")
            print("BREACH", place)
            return torch.tensor(table[:, :-1]), torch.tensor(table[:, -1]).long()
        except OSError:
            pass
    try:
        with open(os.path.join(DEBIAN, "t10k-labels-idx1-ubyte.gz"), "rb") as opened:
            print("BREACH", DEBIAN, len(opened.read()))
    except OSError:
        pass
    return None


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.head = nn.Linear(64, out_shape[0])
        self.known = looked_up()

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(x[:, :1], 8).flatten(1)
        if self.known is None or x.is_meta or self.training:
            return self.head(x)
        images, labels = self.known
        near = torch.cdist(nn.functional.normalize(x.double()), nn.functional.normalize(images)).argmin(dim=1)
        return 100.0 * nn.functional.one_hot(labels[near], 10).float() + 0 * self.head(x)
