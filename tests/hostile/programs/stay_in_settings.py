# group: persistence
# tries: changes settings of torch that outlive a program: types, threads, determinism, hooks
# static: unsafe
# sandbox: trained

import torch
import torch.nn as nn

torch.set_flush_denormal(True)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.set_grad_enabled(True)
torch.backends.cudnn.benchmark = True
nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output * 1.0)


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
        return self.classifier(self.features(x))
