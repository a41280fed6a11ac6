"""RLSD's weight m, from the hindsight gap Δ, at five levels.

    c(x) = clip(exp(s · x), 1 − ε, 1 + ε),   s = sign(A)                  RLSD, arXiv 2604.03128, §3
    token        m_t = (1 − λ) + λ c(Δ_t)                                 the paper
    turn         m_t = (1 − λ) + λ c(e_k) for every token of turn k,
                 e_k = mean of Δ over the action tokens of the turn
    turn_token   m_t = (1 − λ) + λ c(e_k) c(Δ_t) / mean_{u∈k} c(Δ_u):
                 the mean of m over the turn is exactly its turn value
    span         as turn, but only action tokens get the weight; the others keep m = 1
    trajectory   as turn, with e = mean of Δ over the action tokens of the whole trajectory

Three token sets decide everything, all inside `hinted`:
    evidence   tokens whose Δ enters e: the action span (or the whole turn, `evidence: turn`)
    covered    tokens that get a weight: all sampled tokens (action tokens only for `span` or
               `tokens: action`); the mean below `turn_token` runs over the covered tokens of the turn
    the rest   keeps m = 1: un-hinted tokens, and turns or trajectories without one evidence token, such
               as a turn whose action could not be parsed (level `token` needs no evidence)

Bounds of the weight (m at λ = 1): [1 − ε, 1 + ε]; divided by a mean of such numbers, as under `normalize`,
[(1 − ε) / (1 + ε), (1 + ε) / (1 − ε)]; for `turn_token`, which is that times c(e_k),
[(1 − ε)² / (1 + ε), (1 + ε)² / (1 − ε)].

What differs and why: the paper prints min(w A, clip(w) A) in Eq. 16 while its code clips plainly; plain is
the default, `pessimistic` gives the printed form (unbounded for A < 0). exp's argument is limited to ±20, as
in SERL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.errors import Settings
from rlsd.algorithms.schedule import Schedule, linear
from rlsd.algorithms.segment_ops import segment_count, segment_mean, segment_sum

EXPONENT_LIMIT = 20.0
"""Nats; exp(20) exceeds any clip and is finite in float32."""


class CreditConfig(Settings):
    """How hindsight spreads a base advantage over tokens."""

    method: Literal["none", "rlsd", "belief"] = "rlsd"
    """`none`: m = 1. `rlsd`: exp and clip of Δ at a level. `belief`: AgentOPSD's turn weights."""
    level: Literal["token", "span", "turn", "turn_token", "trajectory"] = "turn_token"
    """Unit that shares one piece of evidence (`rlsd`)."""
    lam: Schedule = linear(0.5, 0.0, 50)
    """λ: share of the hindsight weight in m, by iteration; a number is a constant. At 0 there is no teacher
    pass."""
    clip: float = Field(default=0.2, gt=0.0, le=1.0)
    """ε: the weight stays in [1 − ε, 1 + ε]; h of AgentOPSD."""
    applies_to: Literal["both", "positive", "negative", "success"] = "both"
    """Where m may leave 1: any token, those with A > 0, those with A < 0, or those of successful trajectories
    (RLRT)."""
    tokens: Literal["all", "action"] = "all"
    """Tokens that get a weight; with level `token`, `action` is SERL (arXiv 2605.19447)."""
    evidence: Literal["action", "turn"] = "action"
    """Tokens whose Δ is the evidence for a turn or trajectory: the action span, or every sampled token."""
    reduce: Literal["mean", "sum"] = "mean"
    """How a unit's Δ are pooled; a sum grows with the length of the action."""
    normalize: Literal["none", "turn", "trajectory"] = "none"
    """Divide the weights by their mean over the turn or trajectory, so that they only redistribute credit (FACTOR,
    arXiv 2608.07118)."""
    invert: bool = False
    """Invert the ratio (RLRT, arXiv 2605.10781)."""
    pessimistic: bool = False
    """min(w A, clip(w) A), Eq. 16 as printed; no upper bound where A < 0."""
    gamma: float = Field(default=0.95, ge=0.0, le=1.0)
    """Discount of earlier evidence (`belief`)."""

    @model_validator(mode="after")
    def _mean_one_leaves_something(self) -> CreditConfig:
        useless = {"turn": {"span", "turn", "turn_token", "trajectory"}, "trajectory": {"trajectory"}}
        if self.method == "rlsd" and self.level in useless.get(self.normalize, set()):
            raise ValueError(
                f"normalize {self.normalize!r} cancels the weights of level {self.level!r} in each {self.normalize}; "
                "use level 'token', or 'normalize: none'."
            )
        if self.lam.start > 1.0 or self.lam.end > 1.0:
            raise ValueError(f"lam is a share: expected at most 1, given {max(self.lam.start, self.lam.end)}.")
        return self

    def active(self, step: int) -> bool:
        """Return whether m can differ from 1 in iteration `step`; if not, no teacher log-probs are needed."""
        return self.method != "none" and self.lam.value(step) > 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Squashed:
    """The result of a credit rule, before it is mixed with 1."""

    weight: Tensor
    """(M,) float: c, the full hindsight weight (m at λ = 1); meaningless where `applies` is False."""
    applies: Tensor
    """(M,) bool: the token has hindsight evidence."""
    clipped: Tensor
    """(M,) bool: the clip changed the token's weight, or its turn's."""


def squash(x: Tensor, sign: Tensor, config: CreditConfig) -> tuple[Tensor, Tensor]:
    """Return c(x) and whether the clip changed it, both shaped like `x`; `sign` of A in {−1, 0, 1}."""
    direction = -sign if config.invert else sign
    ratio = (direction * x).clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).exp()
    bounded = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
    if config.pessimistic:
        bounded = torch.where(sign < 0, torch.maximum(ratio, bounded), torch.minimum(ratio, bounded))
    return bounded, bounded != ratio


def level_weight(batch: TokenBatch, sign: Tensor, config: CreditConfig) -> Squashed:
    """Return RLSD's full weight c for every token; `sign` (M,) is the sign of each token's base advantage."""
    action_only = config.level == "span" or config.tokens == "action"
    covered = batch.hinted & batch.action_span if action_only else batch.hinted
    gap = batch.gap
    if config.level == "token":
        weight, clipped = squash(gap, sign, config)
        return Squashed(weight=_mean_one(weight, batch, covered, config), applies=covered, clipped=clipped)

    unit, units = _units(batch, config.level)
    evidence = batch.hinted & batch.action_span if config.evidence == "action" else batch.hinted
    pool = segment_mean if config.reduce == "mean" else segment_sum
    pooled = pool(gap, unit, units, evidence)[unit].to(gap.dtype)
    applies = covered & (segment_count(unit, units, evidence) > 0)[unit]
    weight, clipped = squash(pooled, sign, config)
    if config.level == "turn_token":
        share, share_clipped = squash(gap, sign, config)
        weight = weight * share / segment_mean(share, unit, units, covered)[unit].to(gap.dtype).clamp_min(1e-30)
        clipped = clipped | share_clipped
    return Squashed(weight=_mean_one(weight, batch, applies, config), applies=applies, clipped=clipped)


def _units(batch: TokenBatch, level: str) -> tuple[Tensor, int]:
    if level == "trajectory":
        return batch.token_trajectory, batch.group.shape[0]
    return batch.turn, batch.trajectory.shape[0]


def _mean_one(weight: Tensor, batch: TokenBatch, applies: Tensor, config: CreditConfig) -> Tensor:
    """Divide by the mean over the turn or trajectory, so that hindsight only redistributes credit (FACTOR,
    2608.07118)."""
    if config.normalize == "none":
        return weight
    unit, units = _units(batch, config.normalize)
    mean = segment_mean(weight, unit, units, applies)[unit].to(weight.dtype)
    return weight / torch.where(mean > 0, mean, torch.ones_like(mean))
