# group: text
# tries: prints terminal control: colours, titles, clear screen, cursor, clipboard, bell, back spaces
# static: passes
# sandbox: trained

import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        for code in ("[2J", "[31m", "]0;title\x07", "]52;c;YnJlYWNo\x07", "[6n", "c", "[?1049h", "P+q544e\x1b\\"):
            print("\x1b" + code, "\x9b2J", "\x07\x08\x08\x0b\x0c\r over")
        print("\x00\x01\x02\x7f\x80\x9f\ufeff\u202e\u2066\u200b\u2028\U000e0041")
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
