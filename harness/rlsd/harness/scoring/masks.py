"""Padded rows, and what each of their columns may see: as a table of all pairs, or as blocks for FlexAttention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from rlsd.harness.scoring.sequences import Row

BLOCK = 128
"""Queries, and keys, of a block."""


def collate(rows: Sequence[Row], *, seen: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pad rows on the right.

    Args:
        seen: also make what each column may see.

    Returns:
        (B, T) ids, (B, T) positions, and (B, 1, T, T) bool of what each column may see; None if plain causal
        attention is enough (padding comes last, so no real token sees it).
    """
    width = max(len(r.ids) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.arange(width).repeat(len(rows), 1)
    for b, row in enumerate(rows):
        ids[b, : len(row.ids)] = torch.tensor(row.ids)
    if not any(r.branches for r in rows):
        return ids, positions, None
    for b, row in enumerate(rows):  # padding repeats the last position: a model has none beyond its context
        positions[b] = torch.tensor(padded_positions(row.positions(), width))
    if not seen:
        return ids, positions, None
    owner = torch.zeros(len(rows), width, dtype=torch.long)
    fork = torch.zeros(len(rows), width, dtype=torch.long)
    for b, row in enumerate(rows):
        for i, branch in enumerate(row.branches, start=1):
            owner[b, branch.start : branch.stop] = i
            fork[b, branch.start : branch.stop] = branch.fork
    columns = torch.arange(width)
    same = (owner[:, :, None] == owner[:, None, :]) & (columns[None, :, None] >= columns[None, None, :])
    prefix = (owner[:, None, :] == 0) & (columns[None, None, :] < fork[:, :, None])
    return ids, positions, (same | prefix)[:, None]


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask that attention adds to its scores: 0 where `seen`. Built once for all layers; finite, so that rows of
    padding do not give NaN."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def padded_positions(positions: list[int], width: int) -> list[int]:
    """Positions of a row of `width` columns; padding gets the row's last one."""
    return [*positions, *(positions[-1:] or [0]) * (width - len(positions))]


def block_mask(rows: Sequence[Row], device: torch.device) -> BlockMask:
    """What each column may see, as FlexAttention takes it: only blocks of `BLOCK` queries and keys that see something
    are read. Memory is that of the table of blocks, a 16,384th of all pairs.

    A column sees the row up to its fork, and its own piece up to itself; padding sees itself.
    """
    width = max(len(r.ids) for r in rows)
    count = -(-width // BLOCK)
    fork = torch.zeros(len(rows), count * BLOCK, dtype=torch.int32)
    start = torch.zeros(len(rows), count * BLOCK, dtype=torch.int32)
    for b, row in enumerate(rows):
        start[b, len(row.ids) :] = torch.arange(len(row.ids), count * BLOCK)
        for branch in row.branches:
            fork[b, branch.start : branch.stop] = branch.fork
            start[b, branch.start : branch.stop] = branch.start
    fork, start = fork.to(device), start.to(device)
    some = torch.empty(len(rows), 1, count, count, dtype=torch.bool, device=device)
    whole = torch.empty_like(some)
    first = torch.arange(0, count * BLOCK, BLOCK, device=device)
    for i in range(count):  # whether each of BLOCK queries sees a key of each block, and all of its keys
        at = torch.arange(i * BLOCK, (i + 1) * BLOCK, device=device)[:, None]
        f, s = (t[:, i * BLOCK : (i + 1) * BLOCK, None] for t in (fork, start))
        some[:, 0, i] = ((first < f) | ((first + BLOCK > s) & (first <= at))).any(1)
        whole[:, 0, i] = ((first + BLOCK <= f) | ((first >= s) & (first + BLOCK - 1 <= at))).all(1)

    def sees(b: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key < fork[b, query]) | ((key >= start[b, query]) & (key <= query))

    return BlockMask.from_kv_blocks(
        *_table(some & ~whole), *_table(whole), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(width, width)
    )


def _table(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(…, n, n) of query blocks and key blocks → number of key blocks, and their indices in front."""
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32), order.int()
