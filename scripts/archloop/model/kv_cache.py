"""Keys and values of a batch, written into room kept for them.

Transformers' own cache copies all at each token.
"""

import math
from typing import Any, TypeAlias

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from archloop.model.memory import GROWTH
from archloop.model.types import ModelConfig


def new_cache(config: ModelConfig) -> DynamicCache:
    """Return an empty cache for a model.

    Layers that are no plain attention keep transformers' own kind.
    """
    cache = DynamicCache(config=config)
    kind: Any = GrowingLayer
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = kind()
    return cache


def sees_all(config: ModelConfig) -> bool:
    """Tell whether every layer of a model attends to the whole text, not to a window or a chunk of
    it."""
    layers = new_cache(config).layers
    return not any(getattr(layer, "is_sliding", False) for layer in layers)


# Keys and values: (sequences, heads, tokens, head size) each.
States: TypeAlias = tuple[torch.Tensor, torch.Tensor]


class GrowingLayer(DynamicLayer):
    """keys and values: (sequences, heads, tokens, head size), views of the filled part of
    `room`."""

    room: States | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *arguments: Any, **options: Any
    ) -> States:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)

        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        keys, values = self._room_for(key_states, value_states, before, after)

        keys[:, :, before:after] = key_states
        values[:, :, before:after] = value_states
        return self._fill((keys, values), after)

    def _room_for(
        self, key_states: torch.Tensor, value_states: torch.Tensor, before: int, after: int
    ) -> States:
        """Return room for `after` tokens that holds the `before` ones: the present one, or a larger
        copy."""
        if self.room is not None:
            keys, values = self.room
            if keys.shape[-2] >= after:
                return keys, values

        keys = _empty_room(key_states, after)
        values = _empty_room(value_states, after)
        if self.keys is not None and self.values is not None and before:
            keys[:, :, :before] = self.keys
            values[:, :, :before] = self.values
        return keys, values

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        # What transformers has made of keys and values is no view of the room any more.
        self.room = None

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self.room is None:
            super().batch_select_indices(indices)
            return
        keys, values = self.room
        kept = keys[indices], values[indices]
        self._fill(kept, self.get_seq_length())

    def _fill(self, room: States, tokens: int) -> States:
        keys, values = room
        self.room = room
        self.keys = keys[:, :, :tokens]
        self.values = values[:, :, :tokens]
        return self.keys, self.values


def _empty_room(states: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return room for so many tokens of each sequence and head, and up to GROWTH - 1 more."""
    sequences, heads, _, head_size = states.shape
    columns = math.ceil(tokens / GROWTH) * GROWTH
    return states.new_empty(sequences, heads, columns, head_size)
