"""A key-value cache with one slot per episode, kept between turns.

Slot `b` has the keys of position `p` at column `p`, so rows may have different lengths, a prompt that extends an
earlier one is fed only its new tokens, and rewinding only shortens the recorded length. Columns beyond a row's length
contain stale values that no query can see: query position `q` attends to columns `<= q`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from rlsd.agents.hf.models import ModelError

GROW = 128
"""Columns are allocated in multiples of this."""
LARGEST_MASK = 2**26
"""Most entries of an attention mask, rows × queries × keys: 256 MiB in float32. What would need more runs in pieces or
without a mask; below, one pass is faster."""


def pieces(columns: int, keys: int, rows: int, largest: int) -> list[tuple[int, int]]:
    """First and end column of the pieces of a pass, each as long as its mask allows.

    Args:
        columns: of a row in the pass.
        keys: that they read at most.
        largest: entries of a mask.
    """
    step = max(1, largest // (rows * keys))
    return [(first, min(first + step, columns)) for first in range(0, columns, step)]


class KeysAndValues(Cache):
    """A cache that holds keys and values and nothing else: layers with a state of their own are told so."""

    def _no_state(self, *args: object, **kwargs: object) -> Any:
        """
        Raises:
            ModelError: always.
        """
        raise ModelError("it has layers with a recurrent state, and the cache holds keys and values alone")

    get_conv_state = update_conv_state = get_recurrent_state = update_recurrent_state = _no_state
    has_previous_state = update_indexer = _no_state


class SlotCache(KeysAndValues):
    """Keys and values of `slots` episodes in every layer, grown on demand.

    Before a forward pass call `aim(rows, positions)`; the model then writes at those positions and reads all columns
    up to the longest row. Contiguous rows are read in place, others are gathered first.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.layers = []
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows = torch.empty(0, dtype=torch.long)
        self._positions = torch.empty(0, 0, dtype=torch.long)
        self._width = 0
        self._read: slice | Sequence[int] = ()

    def aim(self, rows: Sequence[int], positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Set rows and positions of the next forward pass.

        Args:
            rows: B slots, ascending and without repeats. Python ints: reading a GPU tensor would synchronise.
            positions: (B, Q) int64 positions written and queried.
            width: number of columns read; more than the largest position.
            dtype: of the queries.

        Returns:
            (B, 1, Q, width) additive attention mask in `dtype`: 0 where a query may attend. Not bool, because every
            layer would convert it again.
        """
        self._rows = torch.tensor(rows, device=positions.device)
        self._positions, self._width = positions, width
        self._read = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else rows
        hidden = torch.arange(width, device=positions.device) > positions[:, :, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(
            hidden, torch.finfo(dtype).min
        )[:, None]

    @property
    def tensors(self) -> list[Tensor]:
        """Keys and values of all layers."""
        return [*self._keys, *self._values]

    @property
    def nbytes(self) -> int:
        """Their bytes."""
        return sum(t.numel() * t.element_size() for t in self.tensors)

    def move(self, source: int, target: int) -> None:
        """Copy the content of slot `source` to slot `target`."""
        for table in (*self._keys, *self._values):
            table[target] = table[source]

    def copy(self, sources: Sequence[int], targets: Sequence[int], first: int, stop: int) -> None:
        """Copy columns [`first`, `stop`) of slots to as many others."""
        for table in (*self._keys, *self._values):
            table[targets, :, first:stop] = table[sources, :, first:stop]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object):
        """Write (B, H, Q, D) keys and values of one layer; return (B, H, width, D) of the aimed rows."""
        if layer_idx == len(self._keys):
            for store, new in ((self._keys, key_states), (self._values, value_states)):  # values may be narrower
                store.append(new.new_empty(self.slots, new.shape[1], 0, new.shape[3]))
        out = []
        for store, new in ((self._keys, key_states), (self._values, value_states)):
            table = store[layer_idx]
            if table.shape[2] < self._width:
                columns = -(-self._width // GROW) * GROW
                grown = new.new_zeros(self.slots, table.shape[1], columns, table.shape[3])
                grown[:, :, : table.shape[2]] = table
                store[layer_idx] = table = grown
            table[self._rows[:, None], :, self._positions] = new.transpose(1, 2)
            out.append(self._seen(table[:, :, : self._width]))
        return out[0], out[1]

    def _seen(self, table: Tensor) -> Tensor:
        if isinstance(self._read, slice):
            return table[self._read]
        if table.device.type == "cpu":  # an index copies five times slower there
            return torch.stack([table[row] for row in self._read])
        return table[self._rows]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self._width, 0
