"""A running belief in success, updated by hindsight evidence.

    turns    AgentOPSD, arXiv 2608.05987
             e_k = Σ_{t∈turn k} Δ_t       c_k = γ c_{k−1} + e_k       B_k = σ(logit B_0 + c_k)
             b_k = B_k − B_{k−1}          z_k = (b_k − mean b) / (std b + 1e-6) over the turns of the trajectory
             weight_k = clip(1 + h · sign(A) · z_k, 1 − h, 1 + h)
    tokens   OPPO, arXiv 2605.21851
             ℓ_t = ℓ_{t−1} + Δ_t, ℓ_0 = logit B_0;  A_t = σ(ℓ_t) − σ(ℓ_{t−1}), through the whole trajectory

B_0 is the success *rate* of the group, clamped to [1e-4, 1 − 1e-4]; a return of 10 would saturate it. Later B_k stay in
[1e-6, 1 − 1e-6]. The 1e-6 beside the deviation (block `scale`) keeps m at 1 where hindsight says nothing: with gaps of
1e-7 nats, which are rounding noise, a smaller one would turn the noise into full-sized credit.

What differs and why: the belief starts at the rate of successes, the released code's at the mean return of the group,
which is the same for returns of 0 and 1. Un-hinted turns and tokens add no evidence, stay out of mean and deviation,
and keep m = 1. A trajectory with one hinted turn has no spread, so its weight is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.segment_ops import number_rows, segment_mean, segment_sum

RATE_FLOOR = 1e-4
"""B_0 and 1 − B_0 are at least this."""
BELIEF_FLOOR = 1e-6
"""B_k and 1 − B_k are at least this, k ≥ 1."""


def success_rate(batch: TokenBatch) -> Tensor:
    """Return B_0 (N,) float64: success rate of each trajectory's group, clamped away from 0 and 1."""
    groups, count = number_rows(batch.group)
    return segment_mean(batch.success, groups, count)[groups].clamp(RATE_FLOOR, 1.0 - RATE_FLOOR)


def belief_increments(batch: TokenBatch, gamma: float) -> Tensor:
    """Return b (K,) float64: the change of the success belief by each turn's evidence."""
    turns, trajectories = batch.trajectory.shape[0], batch.group.shape[0]
    evidence = segment_sum(batch.gap, batch.turn, turns, batch.hinted)
    rate = success_rate(batch)
    prior, belief = torch.logit(rate), rate.clone()
    total = torch.zeros(trajectories, dtype=torch.float64, device=evidence.device)
    increments = torch.zeros_like(evidence)
    for position in range(int(batch.position.max()) + 1 if turns else 0):
        here = torch.nonzero(batch.position == position).squeeze(1)
        owner = batch.trajectory[here]
        total[owner] = gamma * total[owner] + evidence[here]
        now = torch.sigmoid(prior[owner] + total[owner]).clamp(BELIEF_FLOOR, 1.0 - BELIEF_FLOOR)
        increments[here] = now - belief[owner]
        belief[owner] = now
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
