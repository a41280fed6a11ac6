"""Step advantages from anchor states: turns of a group's trajectories with the same observation.

GiGPO (arXiv 2505.10978, Eq. 5–9):  G_t = Σ_{k≥t} γ^{k−t} r_k,  A^S = (G_t − mean_c G) / (std_c G + 1e-6)
over the cluster c of turns of one group with the same anchor; a state seen once gives 0; A = A^E + ω A^S.

HGPO (arXiv 2602.22817):  for k = 0 … K cluster turns whose current and last k anchors all match, A_k as
above, A = Σ_k w_k A_k with w_k ∝ (k + 1)^α over the levels where A_k ≠ 0.

What differs and why: anchors come numbered from the caller (exact match), so the similarity clustering GiGPO
offers for search is the caller's choice of numbers. A turn with fewer than k predecessors matches only turns
with as few.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.segment_ops import number_rows, segment_standardise


def step_returns(batch: TokenBatch, rewards: Tensor, gamma: float) -> Tensor:
    """Return G (K,) float64: discounted sum of `rewards` (K,) from each turn to the end of its trajectory."""
    gains = rewards.double().clone()
    turns = gains.shape[0]
    follows = torch.zeros(turns, dtype=torch.bool, device=gains.device)
    follows[:-1] = batch.trajectory[1:] == batch.trajectory[:-1]
    for position in reversed(range(int(batch.position.max()) if turns else 0)):
        here = torch.nonzero((batch.position == position) & follows).squeeze(1)
        gains[here] += gamma * gains[here + 1]
    return gains


def step_advantage(batch: TokenBatch, gains: Tensor, *, std: bool) -> Tensor:
    """Return A^S (K,) float64 of GiGPO from step returns `gains` (K,)."""
    clusters, count = number_rows(batch.group[batch.trajectory], batch.anchor)
    return segment_standardise(gains, clusters, count, std=std)


def hgpo_steps(batch: TokenBatch, gains: Tensor, *, history: int, alpha: float, std: bool) -> Tensor:
    """Return Σ_k w_k A_k (K,) float64 of HGPO from step returns `gains` (K,)."""
    turns = gains.shape[0]
    row = torch.arange(turns, device=gains.device)
    clusters, count = number_rows(batch.group[batch.trajectory], batch.anchor)
    total, norm = torch.zeros_like(gains), torch.zeros_like(gains)
    for level in range(history + 1):
        if level:
            exists = batch.position >= level
            before = batch.anchor[(row - level).clamp_min(0)]
            clusters, count = number_rows(
                clusters, exists.long(), torch.where(exists, before, torch.zeros_like(before))
            )
        part = segment_standardise(gains, clusters, count, std=std)
        weight = (part != 0).double() * (level + 1.0) ** alpha
        total, norm = total + weight * part, norm + weight
    return total / torch.where(norm > 0, norm, torch.ones_like(norm))
