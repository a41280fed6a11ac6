"""Importance weights of tokens that another policy drew: older weights, another engine, or both.

    r_t  = π_old(t) / π_sampler(t)                 by token
    r̄    = exp(mean of log r_t over the segment)   by turn or trajectory (GSPO, arXiv 2507.18071)
    truncate   w = min(r, cap)                     TIS, Yao et al. 2025, "Your efficient RL framework secretly brings
                                                   you off-policy RL training"; bounds come from IMPALA, 1802.01561
    mask       w = r if floor ≤ r ≤ cap, else 0    IcePop (Ring-1T, arXiv 2510.18855)

π_old is the learner before the update, π_sampler what each token was drawn with, so the product with ρ = π_new / π_old
is the decoupled objective of asynchronous training (Hilton et al., 2110.00641; AReaL, 2505.24298).

What differs and why: the segment's ratio is the geometric mean, not the product over its tokens that sequence-level TIS
multiplies: over an episode of thousands of tokens the product is 0 or infinite. Log-ratios are limited to ±20.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from rlsd.algorithms.distill import LOG_RATIO_LIMIT
from rlsd.algorithms.errors import check_same_shape
from rlsd.algorithms.segment_ops import number_rows, segment_mean

TisRule = Literal["truncate", "mask"]
TisLevel = Literal["token", "turn", "trajectory"]


def sampler_ratio(old_logp: Tensor, sampler_logp: Tensor, segment: Tensor | None = None) -> Tensor:
    """Return r (m,), detached: π_old / π_sampler of each token, or with `segment` (m,) int64 the geometric mean over
    the tokens that share a number."""
    check_same_shape(old_logp=old_logp, sampler_logp=sampler_logp, segment=segment)
    log_ratio = (old_logp - sampler_logp).detach()
    if segment is not None:
        sequence, count = number_rows(segment)
        log_ratio = segment_mean(log_ratio, sequence, count).to(log_ratio.dtype)[sequence]
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def truncated(ratio: Tensor, cap: float) -> Tensor:
    """Return min(r, cap) (m,)."""
    return ratio.clamp_max(cap)


def masked(ratio: Tensor, floor: float, cap: float) -> Tensor:
    """Return r (m,), and 0 where it is below `floor` or above `cap`."""
    return ratio.where((ratio >= floor) & (ratio <= cap), ratio.new_zeros(()))
