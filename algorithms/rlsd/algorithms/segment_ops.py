"""Sums, means and spreads over runs of a flat table: tokens of a turn, turns of a trajectory, trajectories of
a group.

Shapes: n rows, S segments. `ids` (n,) int64 is each row's segment in 0 … S−1. Sums run in float64 in row order,
so on CPU a result repeats bit for bit and the mean of a constant segment is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

STD_EPSILON = 1e-6
"""Added to a standard deviation before dividing by it (verl-agent's value)."""


def segment_count(ids: Tensor, segments: int, where: Tensor | None = None) -> Tensor:
    """Return (S,) float64: number of rows in each segment, among those selected by `where` (n,) bool."""
    ones = torch.ones(ids.shape, dtype=torch.float64, device=ids.device) if where is None else where.double()
    return torch.zeros(segments, dtype=torch.float64, device=ids.device).index_add_(0, ids, ones)


def segment_sum(values: Tensor, ids: Tensor, segments: int, where: Tensor | None = None) -> Tensor:
    """Return (S,) float64: sum of `values` (n,) per segment; 0 for an empty one."""
    kept = values.double()
    if where is not None:
        kept = torch.where(where, kept, torch.zeros_like(kept))
    return torch.zeros(segments, dtype=torch.float64, device=ids.device).index_add_(0, ids, kept)


def segment_mean(values: Tensor, ids: Tensor, segments: int, where: Tensor | None = None) -> Tensor:
    """Return (S,) float64: mean of `values` (n,) per segment; 0 for an empty one."""
    count = segment_count(ids, segments, where)
    return segment_sum(values, ids, segments, where) / count.clamp_min(1.0)


def segment_std(values: Tensor, ids: Tensor, segments: int, *, unbiased: bool = True) -> Tensor:
    """Return (S,) float64: standard deviation of `values` (n,) per segment; 0 where it is not defined."""
    deviation = values.double() - segment_mean(values, ids, segments)[ids]
    freedom = segment_count(ids, segments) - (1.0 if unbiased else 0.0)
    return (segment_sum(deviation**2, ids, segments) / freedom.clamp_min(1.0)).sqrt()


def segment_differs(values: Tensor, ids: Tensor, segments: int) -> Tensor:
    """Return (S,) bool: the segment contains two unequal values. Exact, so three times 0.1 is constant."""
    return segment_max(values, ids, segments) > segment_min(values, ids, segments)


def segment_standardise(values: Tensor, ids: Tensor, segments: int, *, std: bool, unbiased: bool = True) -> Tensor:
    """Return (n,) float64: value − mean of its segment, over (std + 1e-6) if `std`; 0 in a constant segment.

    A segment of one row is constant, so a group of one and a state seen once both get 0.
    """
    centred = values.double() - segment_mean(values, ids, segments)[ids]
    if std:
        centred = centred / (segment_std(values, ids, segments, unbiased=unbiased) + STD_EPSILON)[ids]
    differs = segment_differs(values, ids, segments)[ids]
    return torch.where(differs, centred, torch.zeros_like(centred))


def number_rows(*columns: Tensor) -> tuple[Tensor, int]:
    """Return ids (n,) int64 and S: rows equal in all `columns` (n,) get the same number."""
    distinct, ids = torch.unique(torch.stack(columns, dim=1), dim=0, return_inverse=True)
    return ids, int(distinct.shape[0])


def segment_max(values: Tensor, ids: Tensor, segments: int, where: Tensor | None = None) -> Tensor:
    """Return (S,) float64: largest of `values` (n,) per segment; 0 for an empty one."""
    return _extreme(values, ids, segments, where, "amax")


def segment_min(values: Tensor, ids: Tensor, segments: int, where: Tensor | None = None) -> Tensor:
    """Return (S,) float64: smallest of `values` (n,) per segment; 0 for an empty one."""
    return _extreme(values, ids, segments, where, "amin")


def _extreme(values: Tensor, ids: Tensor, segments: int, where: Tensor | None, how: str) -> Tensor:
    wide = values.double()
    if where is not None:
        wide, ids = wide[where], ids[where]
    start = torch.zeros(segments, dtype=torch.float64, device=wide.device)
    return start.scatter_reduce(0, ids, wide, how, include_self=False)
