"""The blocks that credit rules are made of: pure functions over segments.

    units       which tokens share one number: token, turn, trajectory
    pool        mean or sum of token numbers inside a unit
    scale       centre | z | mean_abs | min_max over the units of a turn, trajectory, group or batch
    squash      a weight w around 1 from evidence x around 0: w(0) = 1 for every squash
                exp        e^x                          RLSD, arXiv 2604.03128, §3
                logistic   2 σ(x)                       StepOPSD, arXiv 2605.27140
                tanh       1 + tanh x                   TASPO, arXiv 2608.31077
                linear     1 + x                        AgentOPSD, arXiv 2608.05987
                softplus   1 + (ln(1 + e^x) − ln 2)     AntiSD, arXiv 2605.11609
                softmax    L · e^x / Σ e^x              FACTOR, arXiv 2608.07118
                           over the L tokens of a turn

Every function keeps the rows it cannot speak of at their neutral value: 0 before a squash, 1 after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.segment_ops import number_rows, segment_count, segment_max, segment_mean, segment_min, segment_sum

EXPONENT_LIMIT = 20.0
"""Nats; exp(20) exceeds any clip and is finite in float32."""
SPREAD_EPSILON = 1e-6
"""Added to a spread before dividing by it."""

Over = Literal["turn", "trajectory", "group", "batch"]
OVERS: tuple[Over, ...] = ("turn", "trajectory", "group", "batch")
"""Scopes, each inside the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Numbers the tokens by unit. U units over M tokens, each unit inside one turn or one trajectory."""

    id: Tensor
    """(M,) int64: unit of each token."""
    count: int
    """U."""
    first: Tensor
    """(U,) int64: a token of each unit; 0 for a unit without tokens."""

    def spread(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return (M,): the number of each token's unit, from `values` (U,)."""
        return values[self.id].to(dtype)


def units(batch: TokenBatch, level: str) -> Units:
    """Return the units of a level: "token", "trajectory", or one of the turn levels."""
    if level == "token":
        every = torch.arange(batch.turn.shape[0], device=batch.turn.device)
        return Units(id=every, count=every.shape[0], first=every)
    if level == "trajectory":
        ids, count = batch.token_trajectory, batch.group.shape[0]
    else:
        ids, count = batch.turn, batch.trajectory.shape[0]
    every = torch.arange(ids.shape[0], device=ids.device)
    first = torch.zeros(count, dtype=torch.int64, device=ids.device)
    first = first.scatter_reduce(0, ids, every, "amin", include_self=False)
    return Units(id=ids, count=count, first=first)


def parents(batch: TokenBatch, unit: Units, over: Over) -> tuple[Tensor, int]:
    """Return the scope (U,) int64 that each unit lies in, and the number of scopes."""
    if over == "batch" or not unit.id.shape[0]:
        return torch.zeros(unit.count, dtype=torch.int64, device=unit.id.device), 1
    if over == "turn":
        return batch.turn[unit.first], batch.trajectory.shape[0]
    trajectory = batch.token_trajectory[unit.first]
    if over == "trajectory":
        return trajectory, batch.group.shape[0]
    groups, count = number_rows(batch.group)
    return groups[trajectory], count


def scale(kind: str, x: Tensor, has: Tensor, ids: Tensor, scopes: int) -> Tensor:
    """Return `x` (U,) float64 scaled over the units of its scope that have evidence (`has`, (U,) bool); 0 elsewhere.

    centre: minus the mean · z: also over the population deviation + 1e-6 · mean_abs: over the mean of |x| + 1e-6 ·
    min_max: from 0 at the scope's smallest to 1 at its largest, 0 where they are equal.
    """
    if kind in ("centre", "z"):
        out = x - segment_mean(x, ids, scopes, has)[ids]
        if kind == "z":
            spread = segment_mean(out**2, ids, scopes, has).sqrt()
            out = out / (spread + SPREAD_EPSILON)[ids]
    elif kind == "mean_abs":
        out = x / (segment_mean(x.abs(), ids, scopes, has) + SPREAD_EPSILON)[ids]
    else:
        low, high = segment_min(x, ids, scopes, has)[ids], segment_max(x, ids, scopes, has)[ids]
        out = torch.where(high > low, (x - low) / torch.where(high > low, high - low, torch.ones_like(x)), 0.0)
    return torch.where(has, out, torch.zeros_like(out))


SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda x: x.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).exp(),
    "logistic": lambda x: 2.0 * torch.sigmoid(x),
    "tanh": lambda x: 1.0 + torch.tanh(x),
    "linear": lambda x: 1.0 + x,
    "softplus": lambda x: 1.0 + (torch.nn.functional.softplus(x) - math.log(2.0)),
}
"""Evidence x → weight w, elementwise."""


def softmax_weight(x: Tensor, ids: Tensor, scopes: int, where: Tensor) -> Tensor:
    """Return L · softmax(x) (n,) inside each scope over its L rows in `where`, so its mean is exactly 1; 1 elsewhere.

    FACTOR, arXiv 2608.07118.
    """
    top = segment_max(x, ids, scopes, where)[ids]
    e = torch.where(where, (x.double() - top).exp(), torch.zeros_like(top))
    total, rows = segment_sum(e, ids, scopes), segment_count(ids, scopes, where)
    weight = e * (rows / total.clamp_min(1e-300))[ids]
    return torch.where(where, weight, torch.ones_like(weight)).to(x.dtype)


def mean_one(weight: Tensor, ids: Tensor, scopes: int, where: Tensor) -> Tensor:
    """Divide `weight` (M,) by its mean over the tokens of each scope in `where`, so that it only redistributes credit
    (FACTOR, arXiv 2608.07118)."""
    mean = segment_mean(weight, ids, scopes, where)[ids].to(weight.dtype)
    return weight / torch.where(mean > 0, mean, torch.ones_like(mean))
