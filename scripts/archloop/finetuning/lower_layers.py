"""What the layers below the first adapted one make of a text, computed once: no training changes
them.

The adapter of `finetuning.layers: [15, 30]` leaves fifteen layers as they are, and what these make
of a pair is the same in every pass over the pairs, and for an adapter and its reference. The
results are those of computing it again, to the byte.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from archloop.model.types import LanguageModel

# What is kept at most, in the memory of the host; of SmolLM2 a token takes 2,304 bytes.
LARGEST_BYTES = 2**30


@contextlib.contextmanager
def computed_once(model: LanguageModel) -> Iterator[None]:
    """Let the lower layers of a model with an adapter (peft's) remember what they gave, for a
    while.

    Nothing happens where the adapter begins at the first layer, where a lower layer is random or
    sees a part of the text alone, or where the model is built otherwise than of a row of layers.
    """
    from archloop.model.kv_cache import sees_all  # it imports transformers

    decoder = model.get_base_model().get_decoder()
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, torch.nn.ModuleList) or not sees_all(model.config):
        yield
        return

    first = _first_trained(layers)
    lower, upper = layers[:first], layers[first:]
    has_random = any(_is_random(layer) for layer in lower)
    if not lower or has_random:
        yield
        return

    memory = Memory()
    remembering = []
    last = first - 1
    for index, layer in enumerate(lower):
        remembering.append(Remembering(layer, memory, index == 0, index == last))
    # Lower layers stay in the list: a model counts its layers, and asks each what kind it is.
    decoder.layers = torch.nn.ModuleList([*remembering, *upper])
    try:
        yield
    finally:
        decoder.layers = layers


@dataclass
class Memory:
    """What the lower layers gave, by the digest of what the first of them was given.

    key, output: those of the text at hand; output: None where it is not known yet.
    """

    outputs: dict[bytes, torch.Tensor] = field(default_factory=dict)
    size: int = 0  # bytes of all outputs
    key: bytes = b""
    output: torch.Tensor | None = None

    def look_up(self, given: torch.Tensor) -> None:
        # As bytes, for numpy knows no bfloat16.
        numbers = given.cpu().contiguous().view(torch.uint8)
        data = numbers.numpy().tobytes()
        shape = repr(tuple(given.shape)).encode()
        self.key = hashlib.sha256(data).digest() + shape
        self.output = self.outputs.get(self.key)

    def keep(self, output: torch.Tensor) -> None:
        # What has no room any more is computed again, which changes no result.
        if self.size + output.nbytes <= LARGEST_BYTES:
            self.outputs[self.key] = output.cpu()
            self.size += output.nbytes


class Remembering(torch.nn.Module):
    """One of the lower layers: where what they give is known, all pass their input on, and the last
    one gives it."""

    def __init__(self, layer: torch.nn.Module, memory: Memory, is_first: bool, is_last: bool):
        super().__init__()
        self.layer = layer
        self.memory = memory
        self.is_first = is_first
        self.is_last = is_last

    def __getattr__(self, name: str) -> Any:
        """Some models ask their layers what kind they are."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Not self.layer: while __init__ has not set it yet, that would come here without end.
            layer = super().__getattr__("layer")
            return getattr(layer, name)

    @torch.no_grad()
    def forward(self, hidden: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if self.is_first:
            self.memory.look_up(hidden)

        known = self.memory.output
        if known is not None and self.is_last:
            return known.to(hidden.device)
        if known is not None:
            return hidden

        output: torch.Tensor = self.layer(hidden, *arguments, **options)
        if self.is_last:
            self.memory.keep(output)
        return output


def _first_trained(layers: torch.nn.ModuleList) -> int:
    """Return the index of the first layer that is trained, 0 where none is."""
    for index, layer in enumerate(layers):
        if any(weight.requires_grad for weight in layer.parameters()):
            return index
    return 0


def _is_random(layer: torch.nn.Module) -> bool:
    """Tell whether a layer drops anything out in training."""
    for module in layer.modules():
        if isinstance(module, torch.nn.Dropout) and module.p:
            return True
        if getattr(module, "attention_dropout", 0.0):
            return True
    return False
