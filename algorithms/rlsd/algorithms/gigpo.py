"""Step advantages from anchor states: turns of a group's trajectories with the same observation.

GiGPO (arXiv 2505.10978, Eq. 5–9):  G_t = Σ_{k≥t} γ^{k−t} r_k,  A^S = (G_t − mean_c G) / (std_c G + 1e-6)
over the cluster c of turns of one group with the same anchor; a state seen once gives 0; A = A^E + ω A^S.

HGPO (arXiv 2602.22817, as its authors' core_hgpo.py):  for k = 0 … K cluster the turns whose current and last k
anchors all match, A_k as above with the population deviation, A = Σ_k w_k A_k, w_k ∝ (k + 2)^α over the levels where
A_k ≠ 0. A turn with fewer than k predecessors has no level k. The episode advantage, on request, is one more item of
weight 1 inside the same mean. The paper prints w_k ∝ (k + 1)^α.

What differs and why: anchors come numbered from the caller (exact match), so the similarity clustering GiGPO
offers for search is the caller's choice of numbers. HGPO's code divides by the sum of weights + 1e-6, here by the sum.
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


def hgpo_steps(
    batch: TokenBatch,
    gains: Tensor,
    *,
    history: int,
    alpha: float,
    std: bool,
    first: float = 2.0,
    episode: Tensor | None = None,
) -> Tensor:
    """Return Σ_k w_k A_k (K,) float64 of HGPO from step returns `gains` (K,).

    Level k weighs (k + `first`)^alpha; `episode` (K,), if given, is one more item of weight 1.
    """
    turns = gains.shape[0]
    row = torch.arange(turns, device=gains.device)
    clusters, count = number_rows(batch.group[batch.trajectory], batch.anchor)
    total = torch.zeros_like(gains) if episode is None else episode.double().clone()
    norm = (total != 0).double()
    for level in range(history + 1):
        exists = batch.position >= level
        if level:
            before = batch.anchor[(row - level).clamp_min(0)]
            clusters, count = number_rows(
                clusters, exists.long(), torch.where(exists, before, torch.zeros_like(before))
            )
        part = segment_standardise(gains, clusters, count, std=std, unbiased=False)
        weight = ((part != 0) & exists).double() * (level + first) ** alpha
        total, norm = total + weight * part, norm + weight
    return total / torch.where(norm > 0, norm, torch.ones_like(norm))
