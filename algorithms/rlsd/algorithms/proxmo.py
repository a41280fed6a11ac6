"""ProxMO (arXiv 2602.19225, as its authors' core_proxmo.py): soft anchors, and a success rate.

    A^S_i = G_i − Σ_j w_ij G_j,   w_i = softmax over the turns j of the group of cos(x_i, x_j) / τ, i itself included
    A^E   = (R − mean R) · m,     won:  m = 1 + β (σ((1 − p)^α) − ½)     p: share of the group's trajectories that won
                                  lost: m = 1 + β (σ(−p^α) − ½)          β = range / (σ(1) − ½)

G: discounted step return; x: TF-IDF vector of the observation before the turn (`features`).

What differs and why: without `features` turns with one anchor have cosine 1, others 0. p counts trajectories; their
code takes the mean score over turns, cut to [0, 1], which is 1 wherever a win pays 10 and a tenth of the turns won.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.segment_ops import number_rows, segment_mean


def soft_steps(batch: TokenBatch, gains: Tensor, *, temperature: float) -> Tensor:
    """Return A^S (K,) float64 from step returns `gains` (K,)."""
    advantage = torch.zeros_like(gains)
    group = batch.group[batch.trajectory]
    for number in group.unique():
        here = torch.nonzero(group == number).squeeze(1)
        weights = torch.softmax(_cosine(batch, here) / temperature, dim=1)
        mine = gains[here]
        advantage[here] = (weights * (mine[:, None] - mine[None, :])).sum(dim=1)
    return advantage


def _cosine(batch: TokenBatch, turns: Tensor) -> Tensor:
    if batch.features is None:
        anchor = batch.anchor[turns]
        return (anchor[:, None] == anchor[None, :]).double()
    features = torch.nn.functional.normalize(batch.features[turns].double(), dim=1)
    return features @ features.T


def modulation(batch: TokenBatch, *, most: float, power: float) -> Tensor:
    """Return m (N,) float64 in [1 − most, 1 + most]; `power` is α."""
    group, count = number_rows(batch.group)
    share = segment_mean(batch.success.double(), group, count)[group]
    sign = torch.where(batch.success, (1.0 - share) ** power, -(share**power))
    return 1.0 + most / (torch.sigmoid(torch.ones_like(sign)) - 0.5) * (torch.sigmoid(sign) - 0.5)
