"""Keys and values of a batch, written into room kept for them.

Transformers' own cache copies all at each token.
"""

from typing import Any

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
    return not any(getattr(layer, "is_sliding", False) for layer in new_cache(config).layers)


class GrowingLayer(DynamicLayer):
    """keys and values: (sequences, heads, tokens, head size), views of the filled part of
    `room`."""

    room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *arguments: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)

        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        room = self.room
        if room is None or room[0].shape[-2] < after:
            room = _empty_room(key_states, after), _empty_room(value_states, after)
            if self.keys is not None and self.values is not None and before:
                room[0][:, :, :before] = self.keys
                room[1][:, :, :before] = self.values

        room[0][:, :, before:after] = key_states
        room[1][:, :, before:after] = value_states
        return self._fill(room, after)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.room = None

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self.room is None:
            super().batch_select_indices(indices)
            return
        keys, values = self.room
        self._fill((keys[indices], values[indices]), self.get_seq_length())

    def _fill(
        self, room: tuple[torch.Tensor, torch.Tensor], tokens: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.room = room
        self.keys = room[0][:, :, :tokens]
        self.values = room[1][:, :, :tokens]
        return self.keys, self.values


def _empty_room(states: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return room for so many tokens of each sequence and head, and up to GROWTH - 1 more."""
    columns = -(-tokens // GROWTH) * GROWTH
    return states.new_empty(*states.shape[:2], columns, states.shape[-1])
