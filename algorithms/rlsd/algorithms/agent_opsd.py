"""A running belief in success, updated by hindsight evidence.

    turns    AgentOPSD, arXiv 2608.05987
             e_k = Σ_{t∈turn k} Δ_t       c_k = γ c_{k−1} + e_k       B_k = σ(logit B_0 + c_k)
             b_k = B_k − B_{k−1}; its rule standardises b over the trajectory and weighs
             1 + h · sign(A) · z_k, clipped to [1 − h, 1 + h]
    tokens   OPPO, arXiv 2605.21851
             ℓ_t = ℓ_{t−1} + Δ_t, ℓ_0 = logit B_0;  A_t = σ(ℓ_t) − σ(ℓ_{t−1}), through the whole trajectory

B_0 is the success *rate* of the group, clamped to [1e-4, 1 − 1e-4]; a return of 10 would saturate it.

What differs and why: un-hinted turns and tokens add no evidence. A trajectory with one hinted turn has no spread, so
its weight is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.segment_ops import number_rows, segment_mean, segment_sum

RATE_FLOOR = 1e-4


def success_rate(batch: TokenBatch) -> Tensor:
    """Return (N,) float64: success rate of each trajectory's group, clamped away from 0 and 1."""
    groups, count = number_rows(batch.group)
    return segment_mean(batch.success, groups, count)[groups].clamp(RATE_FLOOR, 1.0 - RATE_FLOOR)


def belief_increments(batch: TokenBatch, gamma: float) -> Tensor:
    """Return b (K,) float64: the change of the success belief by each turn's evidence."""
    turns, trajectories = batch.trajectory.shape[0], batch.group.shape[0]
    evidence = segment_sum(batch.gap, batch.turn, turns, batch.hinted)
    prior = torch.logit(success_rate(batch))
    total = torch.zeros(trajectories, dtype=torch.float64, device=evidence.device)
    increments = torch.zeros_like(evidence)
    for position in range(int(batch.position.max()) + 1 if turns else 0):
        here = torch.nonzero(batch.position == position).squeeze(1)
        owner = batch.trajectory[here]
        before = torch.sigmoid(prior[owner] + total[owner])
        total[owner] = gamma * total[owner] + evidence[here]
        increments[here] = torch.sigmoid(prior[owner] + total[owner]) - before
    return increments


def token_belief_increments(batch: TokenBatch) -> Tensor:
    """Return (M,) float64: the change of the success belief by each token's Δ."""
    gap, owner = batch.gap.double(), batch.token_trajectory
    running = gap.cumsum(0)
    before_all = segment_sum(gap, owner, batch.group.shape[0]).cumsum(0)
    offset = torch.cat([before_all.new_zeros(1), before_all[:-1]])[owner]
    prior = torch.logit(success_rate(batch))[owner]
    after = prior + running - offset
    return torch.sigmoid(after) - torch.sigmoid(after - gap)
