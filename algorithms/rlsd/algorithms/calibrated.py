"""A teacher's log-ratios corrected by the outcome inside the group, so that right rollouts outrank wrong ones.

    margin       Δ_t + h/2 in wins, Δ_t − h/2 in losses, h = max(0, .4 − (mean     Uni-OPD, arXiv 2605.03677
                 m of the wins − mean m of the losses)), m_i = mean Δ of rollout i
    calibrated   Δ_t + .1 ρ_i c_t, in ±10; ρ_i = z(R_i) − z(m_i) over the group,    GC-OPD, arXiv 2608.19181
                 c_t = 1 + tanh(u_t / 2), u_t = (Δ_t − m_i) / std of Δ in the rollout

z has the population deviation and is 0 where that is at most 1e-6; c is 1 there. Groups without a win or without a loss
keep their margin.

What differs and why: Δ uses the student's log-probs before the update; m runs over tokens that the teacher scored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.segment_ops import number_rows, segment_count, segment_mean

MARGIN = 0.4
SHARE, LARGEST, SPREAD_FLOOR = 0.1, 10.0, 1e-6


def with_margin(batch: TokenBatch) -> Tensor:
    """Return Δ (M,) float64, shifted so that a group's wins lie at least `MARGIN` nats a token above its losses."""
    groups, count = number_rows(batch.group)
    mean = _mean_gap(batch)
    scored = segment_count(batch.token_trajectory, batch.group.shape[0], batch.hinted) > 0
    won, lost = batch.success & scored, ~batch.success & scored
    apart = segment_mean(mean, groups, count, won) - segment_mean(mean, groups, count, lost)
    both = (segment_count(groups, count, won) > 0) & (segment_count(groups, count, lost) > 0)
    half = torch.where(both, (MARGIN - apart).clamp_min(0.0) / 2.0, torch.zeros_like(apart))[groups]
    return batch.gap.double() + torch.where(batch.success, half, -half)[batch.token_trajectory]


def calibrated(batch: TokenBatch) -> Tensor:
    """Return (M,) float64: Δ corrected towards the standing of the rollout's return in its group."""
    groups, count = number_rows(batch.group)
    owner, gap, mean = batch.token_trajectory, batch.gap.double(), _mean_gap(batch)
    wanted = _z(batch.returns.double(), groups, count) - _z(mean, groups, count)
    share = 1.0 + torch.tanh(_z(gap, owner, batch.group.shape[0], batch.hinted) / 2.0)
    return (gap + SHARE * wanted[owner] * share).clamp(-LARGEST, LARGEST)


def _mean_gap(batch: TokenBatch) -> Tensor:
    return segment_mean(batch.gap, batch.token_trajectory, batch.group.shape[0], batch.hinted)


def _z(values: Tensor, ids: Tensor, segments: int, where: Tensor | None = None) -> Tensor:
    """Return (n,) float64: (value − mean) over the population deviation of its segment; 0 where that is nothing."""
    out = values - segment_mean(values, ids, segments, where)[ids]
    spread = segment_mean(out**2, ids, segments, where).sqrt()[ids]
    return torch.where(spread > SPREAD_FLOOR, out / spread.clamp_min(SPREAD_FLOOR), torch.zeros_like(out))
