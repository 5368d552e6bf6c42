# group: persistence
# tries: hands its trained weights on to the next training by a global of its module
# static: passes
# sandbox: trained
# repeat: 2

import torch.nn as nn

TRAINED = []


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.head = nn.Linear(in_shape[1] * in_shape[2] * in_shape[3], out_shape[0])
        if TRAINED:
            print("BREACH the weights of", len(TRAINED), "earlier trainings")
            self.head.load_state_dict(TRAINED[-1])

    def forward(self, x):
        if not x.is_meta and not self.training:
            TRAINED.append({name: value.clone() for name, value in self.head.state_dict().items()})
        return self.head(x.flatten(1))
