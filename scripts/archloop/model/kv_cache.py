"""Keys and values of a batch, written into room kept for them; transformers' own cache copies all at each token."""

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from archloop.model.memory import GROWTH


def new_cache(config) -> DynamicCache:
    """Return an empty cache for a model; layers that are no plain attention keep transformers' own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def sees_all(config) -> bool:
    """Tell whether every layer of a model attends to the whole text, not to a window or a chunk of it."""
    return not any(getattr(layer, "is_sliding", False) for layer in new_cache(config).layers)


class GrowingLayer(DynamicLayer):
    """keys and values: (sequences, heads, tokens, head size), views of the filled part of `room`."""

    room: list[torch.Tensor] | None = None

    def update(self, key_states, value_states, *arguments, **options):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        added = key_states, value_states
        if self.room is None or self.room[0].shape[-2] < after:
            columns = -(-after // GROWTH) * GROWTH
            larger = [
                states.new_empty(*states.shape[:2], columns, states.shape[-1]) for states in added
            ]
            if before:
                for new, old in zip(larger, (self.keys, self.values)):
                    new[:, :, :before] = old
            self.room = larger
        for room, states in zip(self.room, added):
            room[:, :, before:after] = states
        return self._view(after)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.room = None

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.room = [room[indices] for room in self.room]
        self._view(self.get_seq_length())

    def _view(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (room[:, :, :tokens] for room in self.room)
        return self.keys, self.values
