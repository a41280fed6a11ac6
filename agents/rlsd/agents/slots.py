"""A key-value cache with one slot an episode, kept over turns.

Slot `b` holds the keys of position `p` at column `p`, so a row may be shorter or longer than its neighbours, a prompt
that extends an earlier one is fed its new tokens alone, and going back is forgetting a length. Columns beyond a row's
length hold rubbish that no query can see: query position `q` attends to columns `<= q`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache

GROW = 128
"""Columns are allocated in multiples of this."""


class SlotCache(Cache):
    """Keys and values of `slots` episodes in every layer, grown on demand.

    Before a forward pass call `aim(rows, positions)`; the model then writes at those places and reads all columns up
    to the longest row.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.layers = []
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows = torch.empty(0, dtype=torch.long)
        self._positions = torch.empty(0, 0, dtype=torch.long)
        self._width = 0
        self._all = False

    def aim(self, rows: Tensor, positions: Tensor, width: int) -> Tensor:
        """Direct the next forward pass.

        Args:
            rows: (B,) int64 slots, ascending and without repeats.
            positions: (B, Q) int64 positions written and queried.
            width: columns that are read; more than the largest position.

        Returns:
            (B, 1, Q, width) bool: what each query may attend to.
        """
        self._rows, self._positions, self._width = rows, positions, width
        self._all = rows.shape[0] == self.slots
        columns = torch.arange(width, device=positions.device)
        return (columns[None, None, :] <= positions[:, :, None])[:, None]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object):  # type: ignore[override]
        """Write (B, H, Q, D) keys and values of one layer; return (B, H, width, D) of the aimed rows."""
        if layer_idx == len(self._keys):
            shape = (self.slots, key_states.shape[1], 0, key_states.shape[3])
            self._keys.append(key_states.new_empty(shape))
            self._values.append(value_states.new_empty(shape))
        out = []
        for store, new in ((self._keys, key_states), (self._values, value_states)):
            held = store[layer_idx]
            if held.shape[2] < self._width:
                columns = -(-self._width // GROW) * GROW
                grown = new.new_zeros(self.slots, held.shape[1], columns, held.shape[3])
                grown[:, :, : held.shape[2]] = held
                store[layer_idx] = held = grown
            held[self._rows[:, None], :, self._positions] = new.transpose(1, 2)
            view = held if self._all else held[self._rows]
            out.append(view[:, :, : self._width])
        return out[0], out[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self._width, 0
