"""Programs that look like networks, by the million, and near-copies; the same for one seed."""

import random
from collections.abc import Iterator

HEAD = """import torch
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
"""
LAYERS = (
    "nn.Conv2d({a}, {b}, {k}, stride={s}, padding={p})",
    "nn.Conv2d({a}, {b}, kernel_size={k}, padding={p}, bias=False)",
    "nn.Conv2d({a}, {a}, {k}, padding={p}, groups={a})",
    "nn.Sequential(nn.Conv2d({a}, {b}, 1), nn.BatchNorm2d({b}), nn.{act}())",
    "nn.Linear({a}, {b})",
    "nn.BatchNorm2d({a})",
    "nn.GroupNorm({s}, {b})",
    "nn.{act}(inplace=True)",
    "nn.MaxPool2d({k}, stride={s}, padding={p})",
    "nn.AdaptiveAvgPool2d({p})",
)
CALLS = (
    "{n}(x)",
    "torch.relu({n}(x))",
    "{n}(x) + x",
    "x * torch.sigmoid({n}(x))",
    "torch.cat([x, {n}(x)], dim=1)",
)
WIDTHS = (8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160)
ACTIVATIONS = ("ReLU", "GELU", "SiLU", "ELU", "LeakyReLU", "Hardswish", "Mish", "CELU")


def documents(count: int, seed: int) -> Iterator[str]:
    """Yield programs of 6 to 16 layers: 200 to 500 tokens."""
    rng = random.Random(seed)
    pick = rng.choice
    for _ in range(count):
        names = [f"self.layer{i}" for i in range(rng.randrange(6, 17))]
        lines = []
        for name in names:
            layer = pick(LAYERS).format(
                a=pick(WIDTHS),
                b=pick(WIDTHS),
                k=pick((1, 3, 5, 7)),
                s=pick((1, 2, 4)),
                p=pick((1, 2, 3)),
                act=pick(ACTIVATIONS),
            )
            lines.append(f"        {name} = {layer}\n")
        lines.append("\n    def forward(self, x):\n")
        lines += [f"        x = {pick(CALLS).format(n=name)}\n" for name in names]
        yield HEAD + "".join(lines) + "        return x.flatten(1)\n"


def near_copy(program: str, edits: int, seed: int) -> str:
    """Return the program with numbers and activations of some layer lines replaced."""
    rng = random.Random(seed)
    lines = program.split("\n")
    rows = [i for i, line in enumerate(lines) if " = nn." in line]
    for row in rng.sample(rows, min(edits, len(rows))):
        name = lines[row].split(" = ")[0]
        lines[row] = f"{name} = nn.Dropout({rng.random():.4f})"
    return "\n".join(lines)
