"""Step advantages from milestones, the goal facts that came true: BEACON / MiGPO (arXiv 2605.06078).

As its authors' core_migpo.py:
    r_k   = ρ γ^{d_k}, d_k the turns from k to the next milestone of the trajectory; 0 if no milestone follows
    A^S_k = r_k − mean (over the deviation + 1e-6 if `std`) among the turns of the group with as many milestones behind
            them

What differs and why: their milestones are actions of an expert found by similarity (ALFWorld), or flags of the world
(WebShop, ScienceWorld). Here a turn is a milestone if fewer goal facts are unmet after it than ever before in the
trajectory, so that undoing and redoing a fact pays once. ρ is 10 there, their return of a win; here it is a setting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.segment_ops import number_rows, segment_standardise


def milestone_turns(batch: TokenBatch) -> Tensor:
    """Return (K,) bool: the turn left fewer goal facts unmet than ever before; False where counts are unknown."""
    reached = torch.zeros_like(batch.valid)
    if batch.unmet_before is None or batch.unmet_after is None or not len(reached):
        return reached
    before, after = batch.unmet_before.double(), batch.unmet_after.double()
    fewest = torch.full((batch.returns.shape[0],), torch.nan, dtype=torch.float64, device=before.device)
    for position in range(int(batch.position.max()) + 1):
        here = torch.nonzero(batch.position == position).squeeze(1)
        owner = batch.trajectory[here]
        fewest[owner] = torch.fmin(fewest[owner], before[here])
        reached[here] = after[here] < fewest[owner]
        fewest[owner] = torch.fmin(fewest[owner], after[here])
    return reached


def segments(batch: TokenBatch, reached: Tensor) -> Tensor:
    """Return (K,) int64: number of milestones of the trajectory before each turn."""
    behind = reached.long().cumsum(0) - reached.long()
    first = torch.searchsorted(batch.trajectory, batch.trajectory)
    return behind - behind[first]


def milestone_rewards(batch: TokenBatch, reached: Tensor, *, gamma: float, reward: float) -> Tensor:
    """Return r (K,) float64: `reward` at a milestone, discounted by the turns until it."""
    turns = reached.shape[0]
    row = torch.arange(turns, device=reached.device)
    following = torch.where(reached, row, torch.full_like(row, turns)).flip(0).cummin(0).values.flip(0)
    exists = following < turns
    following = torch.where(exists, following, row)
    exists = exists & (batch.trajectory[following] == batch.trajectory)
    value = reward * torch.full_like(row, gamma, dtype=torch.float64) ** (following - row)
    return torch.where(exists, value, torch.zeros_like(value))


def milestone_steps(batch: TokenBatch, row: Tensor, *, gamma: float, reward: float, std: bool) -> Tensor:
    """Return A^S (K,) float64; `row` (K,) is taken off each turn's reward."""
    reached = milestone_turns(batch)
    rewards = milestone_rewards(batch, reached, gamma=gamma, reward=reward) - row
    same, count = number_rows(batch.group[batch.trajectory], segments(batch, reached))
    return segment_standardise(rewards, same, count, std=std)
