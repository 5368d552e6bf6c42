# group: bombs
# tries: starts hundreds of sleeping threads
# static: unsafe
# sandbox: crashed, construct
# landlock: crashed
# why: root's processes are bounded by no limit of the kernel, there the keeper counts its threads

import threading
import time

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        threading.stack_size(2**16)  # so that no lack of address space ends it first
        for _ in range(500):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        time.sleep(3)
        print("BREACH threads", threading.active_count())
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
