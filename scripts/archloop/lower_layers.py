"""What the layers below the first adapted one make of a text, computed once: no training changes them.

The adapter of `finetuning.layers: [15, 30]` leaves fifteen layers as they are, and what these make of a pair is the
same in every pass over the pairs, and for an adapter and its reference. The results are those of computing it anew, to
the byte.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from archloop.growing_cache import sees_all

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
    decoder.layers = torch.nn.ModuleList([Remembering(layers[:first]), *layers[first:]])
    try:
        yield
    finally:
        decoder.layers = layers


class Remembering(torch.nn.Module):
    """Some layers as one, which keeps its outputs by the digest of its input, (texts, tokens, width)."""

    def __init__(self, layers: torch.nn.ModuleList):
        super().__init__()
        self.layers, self.kept, self.bytes = layers, {}, 0

    @torch.no_grad()
    def forward(self, hidden: torch.Tensor, *arguments, **options) -> torch.Tensor:
        key = hidden.shape, hashlib.sha256(hidden.cpu().contiguous().view(torch.uint8).numpy()).digest()
        if key in self.kept:
            return self.kept[key].to(hidden.device)
        for layer in self.layers:
            hidden = layer(hidden, *arguments, **options)
        if self.bytes + hidden.nbytes <= LARGEST_BYTES:
            self.kept[key] = hidden.cpu()
            self.bytes += hidden.nbytes
        return hidden


def _first_trained(layers: torch.nn.ModuleList) -> int:
    trained = (any(weight.requires_grad for weight in layer.parameters()) for layer in layers)
    return next((place for place, trains in enumerate(trained) if trains), 0)


def _is_random(layer: torch.nn.Module) -> bool:
    """Tell whether a layer drops anything out in training."""
    return any(
        (isinstance(module, torch.nn.Dropout) and module.p) or getattr(module, "attention_dropout", 0.0)
        for module in layer.modules()
    )
