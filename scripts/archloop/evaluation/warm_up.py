"""What trusted code does in the sandbox before a program is read: start the threads, start the
device, train a step.

What this machine refuses shows here, and is no verdict on a program.
"""

import contextlib
import math

import torch
from torch.nn.functional import cross_entropy

# Elements that one thread of torch takes at least; so many for each and all of them are started.
GRAIN = 2**15


def start_threads(count: int) -> None:
    """Start all threads that a training uses.

    OpenMP ends the process where the machine refuses one.
    """
    torch.set_num_threads(count)
    elements = 2 * GRAIN * count
    torch.ones(elements).add_(1)


def take_a_step(device: str) -> None:
    """Train a step of convolution, batch normalisation and a linear layer, in bfloat16 where a GPU
    has it.

    Raises whatever the device raises, and RuntimeError when the loss is no finite number.
    """
    gpu = device.startswith("cuda")
    precision: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if gpu and torch.cuda.is_bf16_supported(including_emulation=False):
        precision = torch.autocast("cuda", torch.bfloat16)

    # The generators of the program that follows stay as they are.
    with torch.random.fork_rng(devices=[]):
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(8, 10),
        ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=gpu)

    shape = (16, 3, 32, 32)
    pixels = torch.linspace(0, 1, math.prod(shape), device=device)
    images = pixels.view(shape)
    labels = torch.zeros(16, dtype=torch.long, device=device)
    with precision:
        loss = cross_entropy(model(images), labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()

    if not loss.isfinite():  # this waits for the device, too
        raise RuntimeError(f"a training step on {device} gave the loss {loss.item()}")
