"""A key-value cache with one slot an episode, kept over turns.

Slot `b` holds the keys of position `p` at column `p`, so a row may be shorter or longer than its neighbours, a prompt
that extends an earlier one is fed its new tokens alone, and going back is forgetting a length. Columns beyond a row's
length hold rubbish that no query can see: query position `q` attends to columns `<= q`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache

GROW = 128
"""Columns are allocated in multiples of this."""


class SlotCache(Cache):
    """Keys and values of `slots` episodes in every layer, grown on demand.

    Before a forward pass call `aim(rows, positions)`; the model then writes at those places and reads all columns up
    to the longest row. Rows that are neighbours are read in place, others are copied together first.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.layers = []
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows = torch.empty(0, dtype=torch.long)
        self._positions = torch.empty(0, 0, dtype=torch.long)
        self._width = 0
        self._read: slice | Tensor = self._rows

    def aim(self, rows: Sequence[int], positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Direct the next forward pass.

        Args:
            rows: B slots, ascending and without repeats. Numbers: to look into a GPU's tensor is to wait for it.
            positions: (B, Q) int64 positions written and queried.
            width: columns that are read; more than the largest position.
            dtype: of the queries.

        Returns:
            (B, 1, Q, width) in `dtype`, what attention adds to its scores: 0 where a query may look. As numbers,
            because from bools every layer would make them anew.
        """
        self._rows = torch.tensor(rows, device=positions.device)
        self._positions, self._width = positions, width
        self._read = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else self._rows
        hidden = torch.arange(width, device=positions.device) > positions[:, :, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(
            hidden, torch.finfo(dtype).min
        )[:, None]

    def move(self, source: int, target: int) -> None:
        """Copy what slot `source` holds to slot `target`."""
        for held in (*self._keys, *self._values):
            held[target] = held[source]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object):
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
            out.append(held[:, :, : self._width][self._read])
        return out[0], out[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self._width, 0
