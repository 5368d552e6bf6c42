"""What the layers below the first adapted one make of a text, computed once: no training changes them.

The adapter of `finetuning.layers: [15, 30]` leaves fifteen layers as they are, and what these make of a pair is the
same in every pass over the pairs, and for an adapter and its reference. The results are those of computing it anew, to
the byte.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from archloop.model.kv_cache import sees_all

# What is kept at most, in the memory of the host; of SmolLM2 a token takes 2,304 bytes.
LARGEST_BYTES = 2**30


@contextlib.contextmanager
def computed_once(model) -> Iterator[None]:
    """Let the lower layers of a model with an adapter (peft's) remember what they gave, for a while.

    Nothing happens where the adapter begins at the first layer, where a lower layer is random or sees a part of the
    text alone, or where the model is built otherwise than of a row of layers.
    """
    decoder = model.get_base_model().get_decoder()
    layers = getattr(decoder, "layers", None)
    first = _first_trained(layers) if isinstance(layers, torch.nn.ModuleList) else 0
    if not first or not sees_all(model.config) or any(map(_is_random, layers[:first])):
        yield
        return
    memory = Memory()
    lower = [
        Remembering(layers[place], memory, place == 0, place == first - 1) for place in range(first)
    ]
    decoder.layers = torch.nn.ModuleList([*lower, *layers[first:]])
    try:
        yield
    finally:
        decoder.layers = layers


@dataclass
class Memory:
    """What the lower layers gave, by the digest of what the first of them was given; found: for the text at hand."""

    kept: dict[bytes, torch.Tensor] = field(default_factory=dict)
    bytes: int = 0
    key: bytes = b""
    found: torch.Tensor | None = None

    def look_up(self, given: torch.Tensor) -> None:
        self.key = (
            hashlib.sha256(given.cpu().contiguous().view(torch.uint8).numpy()).digest()
            + repr(tuple(given.shape)).encode()
        )
        self.found = self.kept.get(self.key)

    def keep(self, output: torch.Tensor) -> None:
        if self.bytes + output.nbytes <= LARGEST_BYTES:
            self.kept[self.key] = output.cpu()
            self.bytes += output.nbytes


class Remembering(torch.nn.Module):
    """One of the lower layers: where what they give is known, all pass their input on, and the last one gives it."""

    def __init__(self, layer: torch.nn.Module, memory: Memory, is_first: bool, is_last: bool):
        super().__init__()
        self.layer, self.memory, self.is_first, self.is_last = layer, memory, is_first, is_last

    def __getattr__(self, name: str) -> object:
        """Some models ask their layers what kind they are."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    @torch.no_grad()
    def forward(self, hidden: torch.Tensor, *arguments, **options) -> torch.Tensor:
        if self.is_first:
            self.memory.look_up(hidden)
        if self.memory.found is not None:
            return self.memory.found.to(hidden.device) if self.is_last else hidden
        hidden = self.layer(hidden, *arguments, **options)
        if self.is_last:
            self.memory.keep(hidden)
        return hidden


def _first_trained(layers: torch.nn.ModuleList) -> int:
    trained = (any(weight.requires_grad for weight in layer.parameters()) for layer in layers)
    return next((place for place, trains in enumerate(trained) if trains), 0)


def _is_random(layer: torch.nn.Module) -> bool:
    """Tell whether a layer drops anything out in training."""
    return any(
        (isinstance(module, torch.nn.Dropout) and module.p)
        or getattr(module, "attention_dropout", 0.0)
        for module in layer.modules()
    )
