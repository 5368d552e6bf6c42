"""In which number format and memory layout a program is trained: the fastest that it takes.

On a GPU convolutions are fastest in bfloat16 (by autocast) and with the channels last in memory.
Sound programs raise in either: `x.view(...)` after a convolution wants contiguous memory; masked
assignment, index_add, scatter_add and lerp want one format of all their tensors. So a pair is taken
only if one step and one prediction go through in it.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from archloop.evaluation.networks import Stop, raise_fault

LAYOUTS = ("channels_last", "contiguous")


@dataclass(frozen=True)
class Format:
    """precision: float32, or bfloat16 by autocast.

    layout: of images and weights, a name of LAYOUTS.
    """

    precision: str
    layout: str

    def __str__(self) -> str:
        return f"{self.precision}, {self.layout}"


PLAIN = Format("float32", "contiguous")


def formats(precision: str, device: str) -> list[Format]:
    """Return what is tried, the fastest first and what any sound program takes last.

    precision: evaluation.precision, resolved. Processors train contiguous.
    """
    precisions = ["bfloat16", "float32"] if precision == "bfloat16" else ["float32"]
    layouts = LAYOUTS if device.startswith("cuda") else ("contiguous",)

    choices = []
    for number_type in precisions:
        for layout in layouts:
            choices.append(Format(number_type, layout))
    return choices


def first_that_works(choices: list[Format], try_out: Callable[[Format], object]) -> Format:
    """Return the first choice in which try_out raises nothing; the last one is not tried.

    Raises Stop for missing memory and what the device raises.
    """
    # What is wrong with the last one is the program's fault, and comes up in its training.
    for choice in choices[:-1]:
        try:
            try_out(choice)
        except Stop:
            raise
        except Exception as error:
            raise_fault(error)
        else:
            return choice

    return choices[-1]


def autocast(precision: str, device: str) -> contextlib.AbstractContextManager[object]:
    """Return the context of a forward pass."""
    if precision == "float32":
        return contextlib.nullcontext()
    kind = torch.device(device).type
    mixed: contextlib.AbstractContextManager[object] = torch.autocast(kind, torch.bfloat16)
    return mixed
