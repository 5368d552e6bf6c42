# Prints while it is built, catches a missing setting, asserts its shapes, has a main block.
import torch
import torch.nn as nn
import torch.nn.functional as F


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super(Net, self).__init__()
        try:
            rate = prm["dropout_of_another_name"]
        except KeyError:
            rate = 0.1
        self.conv1 = nn.Conv2d(in_shape[1], 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.dropout = nn.Dropout(rate)
        self.fc = nn.Linear(16 * 16, out_shape[0])
        print(f"Net: {sum(p.numel() for p in self.parameters())} parameters, in {in_shape}, out {out_shape}")

    def forward(self, x):
        assert x.dim() == 4, "expects images"
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.adaptive_avg_pool2d(F.relu(self.conv2(x)), 4)
        return self.fc(self.dropout(torch.flatten(x, 1)))


if __name__ == "__main__":
    print(Net((1, 1, 32, 32), (10,), {}, torch.device("cpu")))
