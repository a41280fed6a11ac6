"""Token weights: the weight of each sampled token in the loss of the whole iteration, L = Σ_t w_t · l_t.

    trajectory   token mean inside an episode, then mean over episodes (default)
    turn         token mean inside a turn, then mean over turns (FACTOR's action mean, arXiv 2608.07118)
    token        mean over all tokens (DAPO, arXiv 2503.14476)
    constant     token sum of an episode over a constant, then mean over episodes (Dr.GRPO, arXiv 2503.20783)

The normaliser is taken once over the global batch. A micro-batch sums w_t · l_t over the tokens it holds;
gradients of micro-batches and ranks add up. So merging turns into rows, micro-batching and sharding cannot
change the loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.errors import AlgorithmError, closest
from rlsd.algorithms.segment_ops import segment_count

Aggregation = Literal["trajectory", "turn", "token", "constant"]
AGGREGATIONS = ("trajectory", "turn", "token", "constant")
DEFAULT_CONSTANT_TOKENS = 1024


def token_weights(
    batch: TokenBatch,
    how: Aggregation = "trajectory",
    active: Tensor | None = None,
    *,
    constant_tokens: int = DEFAULT_CONSTANT_TOKENS,
) -> Tensor:
    """Return w (M,), ≥ 0. It sums to 1 over `active` tokens, except for `constant`; inactive tokens get 0.

    `active` (M,) bool selects the tokens of this loss (e.g. one of several mini-batches). A token with A = 0 is
    active: its backward pass may be skipped, but it counts in the normaliser. Episodes
    and turns without an active token do not count.
    """
    if how not in AGGREGATIONS:
        raise AlgorithmError(f"unknown aggregation {how!r}{closest(how, AGGREGATIONS)}")
    kept = torch.ones_like(batch.action_span) if active is None else active
    if how == "token":
        unit, units = torch.zeros_like(batch.turn), 1
    elif how == "turn":
        unit, units = batch.turn, batch.trajectory.shape[0]
    else:
        unit, units = batch.token_trajectory, batch.group.shape[0]
    tokens = segment_count(unit, units, kept)
    counted = (tokens > 0).sum().clamp_min(1)
    inside = torch.full_like(tokens, float(constant_tokens)) if how == "constant" else tokens.clamp_min(1.0)
    weights = (1.0 / (inside * counted))[unit]
    return torch.where(kept, weights, torch.zeros_like(weights)).to(batch.student_logp.dtype)
