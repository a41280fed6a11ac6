"""Keys and values of rows' prefixes behind room for a chunk of their branches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd.agents.hf.kv_cache import KeysAndValues

ALIGNED = 16
"""A chunk reads a multiple of this many keys: attention is slower on a remainder than on padding."""


class PrefixCache(KeysAndValues):
    """Keys and values of B row prefixes behind room for one chunk of their branches.

        columns    room | row's common beginning, rest of its prefix | at least `ALIGNED` zeros

    Every row's prefix starts at the first column after the room, whatever the length of its common beginning, so a
    chunk reads up to its deepest fork and little more. A chunk is written right before the prefixes, and each further
    piece of it right before the last one: one slice is read and no prefix is copied. Attention does not depend on the
    order of columns: the mask says what is visible, and positions are encoded in the keys.

    Args:
        room: largest number of columns of a chunk.
        length: columns of the longest prefix, without its common beginning.
        before: the (keys, values) of each layer's common beginnings, (B, H, P, D) each; empty if there are none.
        starts: (B,) length of each row's common beginning in tokens.
    """

    def __init__(
        self, *, room: int, length: int, before: Sequence[tuple[Tensor, Tensor]] = (), starts: Tensor | None = None
    ) -> None:
        self.layers = []
        self._room = room
        self._length = length
        self._before = before
        self._starts = starts
        self._stored: list[tuple[Tensor, Tensor]] = []
        self._filled = 0
        self._chunk: tuple[int, int, int] | None = None

    def fill(self, first: int) -> None:
        """Make the next pass run the prefixes' columns from `first` on, counted without the common beginning."""
        self._filled = first

    def aim(self, rows: int, prefix: int, first: int) -> None:
        """Make the next pass run branches of the first `rows` rows, which read `prefix` columns of their prefixes; the
        chunk's columns before `first` went before."""
        self._chunk = (rows, prefix, first)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kwargs: object):  # type: ignore[override]
        """Write (B, H, Q, D) keys and values of one layer; returns the keys and values that the pass reads."""
        news = (key_states, value_states)
        if self._chunk is None:
            if layer_idx == len(self._stored):
                before = self._before[layer_idx] if self._before else (None, None)
                keys, values = (self._opened(new, early) for new, early in zip(news, before))
                self._stored.append((keys, values))
            return tuple(self._filled_in(stored, new) for stored, new in zip(self._stored[layer_idx], news))
        rows, prefix, first = self._chunk
        out = []
        for stored, new in zip(self._stored[layer_idx], news):
            seen = stored[:rows, :, self._room - first - new.shape[2] : self._room + prefix]
            seen[:, :, : new.shape[2]] = new
            out.append(seen)
        return out[0], out[1]

    def _opened(self, new: Tensor, early: Tensor | None) -> Tensor:
        """Space for all columns with the common beginnings; a chunk writes every other column that it reads."""
        b, h, _, d = new.shape
        width = 0 if early is None else early.shape[2]
        space = new.new_empty(b, h, self._room + width + self._length + ALIGNED, d)
        space[:, :, self._room + (width or self._length) :] = 0  # columns no row fills are masked, but must be finite
        if early is not None:
            space[:, :, self._room : self._room + width] = early
        return space

    def _filled_in(self, space: Tensor, new: Tensor) -> Tensor:
        """Write columns of the prefixes; returns what they see."""
        b, t = new.shape[0], new.shape[2]
        at = self._room + self._filled
        if self._starts is None:
            space[:, :, at : at + t] = new
        else:
            own = at + self._starts[:, None] + torch.arange(t, device=new.device)
            space.transpose(1, 2)[torch.arange(b, device=new.device)[:, None], own] = new.transpose(1, 2)
        width = self._before[0][0].shape[2] if self._before else 0
        return space[:, :, self._room : at + width + t]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return query_length, 0
