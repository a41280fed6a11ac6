"""Token losses on any slice of m tokens; `token_weights.token_weights` weights them.

    ρ = π_new / π_old,   Â = final advantage of the token
    ppo        −min(ρ Â, clip(ρ, 1 − lo, 1 + hi) Â)                              arXiv 1707.06347
               and at most c |Â| where Â < 0, with `dual_clip` c                 arXiv 1912.09729
    gspo       the same with ρ_t = sg(ρ̄) · π_new/sg(π_new),                      arXiv 2507.18071, §4.3
               ρ̄ = exp(mean of log ρ over the turn)
    cispo      −Â · sg(min(ρ, 1 + hi)) · log π_new                               arXiv 2506.13585
    reinforce  −Â · log π_new
    sft        −log π_new

`anchor` α below 1 puts the teacher into the ratio's denominator: ρ = π_new / (π_old^α π_T^(1−α))   TRRD, 2602.22495

What differs and why: GSPO's sequence is what the caller numbers in `segment` (a turn: it never straddles two
rows); its token form is the one taken, because Â varies inside a sequence. No entropy bonus. Log-ratios are
limited to ±20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.distill import LOG_RATIO_LIMIT, DistillConfig, distill_loss
from rlsd.algorithms.errors import AlgorithmError, Settings, check_same_shape
from rlsd.algorithms.sampler_weight import TisLevel, TisRule, masked, sampler_ratio, truncated
from rlsd.algorithms.segment_ops import number_rows, segment_mean
from rlsd.algorithms.token_weights import DEFAULT_CONSTANT_TOKENS, Aggregation

PolicyLoss = Literal["ppo", "gspo", "cispo", "reinforce", "sft"]


class LossConfig(Settings):
    """The loss per token and its aggregation over the batch."""

    policy: PolicyLoss = "ppo"
    """Policy loss; equations at the top of this module."""
    policy_coef: float = Field(default=1.0, ge=0.0)
    """Weight of the policy loss; 0 leaves only distillation (OPSD)."""
    clip_low: float = Field(default=0.2, gt=0.0)
    """Ratio clip below 1; 3e-4 for GSPO."""
    clip_high: float = Field(default=0.2, gt=0.0)
    """Ratio clip above 1; 0.28 in DAPO and RLSD, 4e-4 for GSPO."""
    dual_clip: float | None = Field(default=None, gt=1.0)
    """Bound on the ratio's effect where Â < 0: the loss is at most this times |Â|, without gradient above. 3 in verl,
    verl-agent and EasyR1, and so in the presets of methods whose code is built on them; None for no bound, as in
    TRL."""
    anchor: float = Field(default=1.0, gt=0.0, le=1.0)
    """α: the ratio's denominator is π_old^α π_T^(1−α), in tokens that the teacher scored; 1: π_old alone."""
    tis_cap: float | None = Field(default=None, gt=0.0)
    """Multiply by r = π_old / π_sampler up to this cap, importance sampling for a sampler with older weights or on
    another engine; 2 for `truncate`, 5 for `mask`. None: no correction."""
    tis: TisRule = "truncate"
    """Tokens whose r is out of bounds: `truncate` to `tis_cap` (TIS), or `mask`, no policy loss outside `tis_floor` to
    `tis_cap` (IcePop)."""
    tis_floor: float = Field(default=0.5, ge=0.0)
    """Smallest r that `mask` keeps."""
    tis_level: TisLevel = "token"
    """Whose r it is: each token's, or the geometric mean over its turn or trajectory."""
    kl_coef: float = Field(default=0.0, ge=0.0)
    """Weight of the k3 estimate of KL to the reference weights; above 0 it needs a reference pass."""
    kl_clamp: float | None = Field(default=10.0, gt=0.0)
    """Upper limit of that estimate at one token, in nats, without gradient above: 10 in verl and EasyR1. None for no
    limit."""
    aggregation: Aggregation = "trajectory"
    """How tokens are averaged; see `token_weights`."""
    constant_tokens: int = Field(default=DEFAULT_CONSTANT_TOKENS, gt=0)
    """Divisor of aggregation `constant`."""
    distill: DistillConfig = DistillConfig()
    """Distillation term added to the policy loss."""

    @model_validator(mode="after")
    def _mask_keeps_some(self) -> LossConfig:
        if self.tis == "mask" and self.tis_cap is not None and self.tis_cap <= self.tis_floor:
            raise ValueError(
                f"tis 'mask' keeps ratios from tis_floor {self.tis_floor:g} to tis_cap {self.tis_cap:g}: none"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """One micro-batch of m tokens. Only `new_logp` and `divergence` carry gradient."""

    new_logp: Tensor
    """(m,) log-prob under the weights being trained."""
    old_logp: Tensor
    """(m,) log-prob under the learner before the update: `TokenBatch.student_logp`, or in the only optimizer step on
    these tokens `new_logp` itself, detached."""
    advantage: Tensor
    """(m,) `Credit.advantage`."""
    turn: Tensor
    """(m,) int64 number of each token's turn; read by GSPO only."""
    sampler_weight: Tensor | None = None
    """(m,) of `sampler_weights`, needed with `tis_cap`."""
    reference_logp: Tensor | None = None
    """(m,) needed with `kl_coef` > 0."""
    teacher_logp: Tensor | None = None
    """(m,) needed by distillation kinds that are no divergence, and by `anchor` < 1."""
    divergence: Tensor | None = None
    """(m,) from `chunked_divergence`, needed by the full-vocabulary kinds."""
    hinted: Tensor | None = None
    """(m,) bool: distillation is 0 elsewhere; None means all True."""
    distill_share: Tensor | None = None
    """(m,) of `distill_shares`, needed where distillation weighs tokens; None means all 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """Unweighted token losses, each (m,); multiply by token weights and sum."""

    total: Tensor
    """policy_coef · policy + kl_coef · kl + coefficient · distill."""
    policy: Tensor
    kl: Tensor
    distill: Tensor


def token_loss(inputs: LossInputs, config: LossConfig, *, step: int) -> LossTerms:
    """Return every term of the configured loss for m tokens in iteration `step`."""
    zero = torch.zeros_like(inputs.new_logp)
    policy, kl, distill = zero, zero, zero
    if config.policy_coef > 0.0:
        weight = None
        if config.tis_cap is not None:
            weight = _needed(inputs.sampler_weight, "sampler_weight", "tis_cap is set")
        policy = policy_loss(
            inputs.new_logp, denominator(inputs, config), inputs.advantage, config, segment=inputs.turn, weight=weight
        )
    if config.kl_coef > 0.0:
        reference = _needed(inputs.reference_logp, "reference_logp", "kl_coef > 0")
        kl = kl_k3(inputs.new_logp, reference, clamp=config.kl_clamp)
    coef = config.distill.coef.value(step)
    if config.distill.active(step):
        distill = distill_loss(
            config.distill,
            new_logp=inputs.new_logp,
            old_logp=inputs.old_logp,
            teacher_logp=inputs.teacher_logp,
            divergence=inputs.divergence,
            hinted=inputs.hinted,
            share=inputs.distill_share,
        )
        if (left := config.distill.policy_share(step)) < 1.0:
            acts = _needed(inputs.distill_share, "distill_share", "distill takes the policy loss's place") != 0
            policy = torch.where(acts, left * policy if left else zero, policy)
    total = config.policy_coef * policy + config.kl_coef * kl + coef * distill
    return LossTerms(total=total, policy=policy, kl=kl, distill=distill)


def policy_loss(
    new_logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    config: LossConfig,
    *,
    segment: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the policy loss (m,) of each token; `segment` (m,) int64 numbers GSPO's sequences, `weight`
    multiplies."""
    check_same_shape(new_logp=new_logp, old_logp=old_logp, advantage=advantage, segment=segment, weight=weight)
    advantage = advantage.detach()
    if config.policy == "sft":
        loss = -new_logp
    elif config.policy == "reinforce":
        loss = -advantage * new_logp
    elif config.policy == "cispo":
        ratio = importance_ratio(new_logp, old_logp).detach().clamp_max(1.0 + config.clip_high)
        loss = -advantage * ratio * new_logp
    else:
        ratio = importance_ratio(new_logp, old_logp)
        if config.policy == "gspo":
            ratio = _sequence_ratio(new_logp, old_logp, _needed(segment, "segment", "the policy loss is gspo"))
        loss = _clipped(ratio, advantage, config)
    return loss if weight is None else loss * weight.detach()


def denominator(inputs: LossInputs, config: LossConfig) -> Tensor:
    """Return (m,): log-probs of the ratio's denominator, π_old or its mixture with the teacher (`anchor`), detached."""
    if config.anchor == 1.0:
        return inputs.old_logp
    teacher = _needed(inputs.teacher_logp, "teacher_logp", "anchor < 1")
    mixed = (config.anchor * inputs.old_logp + (1.0 - config.anchor) * teacher).detach()
    return mixed if inputs.hinted is None else torch.where(inputs.hinted, mixed, inputs.old_logp)


def importance_ratio(new_logp: Tensor, old_logp: Tensor) -> Tensor:
    """Return ρ = π_new / π_old (m,), differentiable in `new_logp`."""
    return (new_logp - old_logp.detach()).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def clipped_share(new_logp: Tensor, old_logp: Tensor, advantage: Tensor, config: LossConfig) -> Tensor:
    """Return (m,) bool: the PPO clip, or the dual clip, zeroes this token's gradient."""
    ratio = importance_ratio(new_logp, old_logp).detach()
    above = (advantage > 0) & (ratio > 1.0 + config.clip_high)
    outside = ratio < 1.0 - config.clip_low
    if config.dual_clip is not None:
        outside = outside | (ratio > config.dual_clip)
    return above | ((advantage < 0) & outside)


def kl_k3(new_logp: Tensor, reference_logp: Tensor, *, clamp: float | None = None) -> Tensor:
    """Return exp(r) − 1 − r ≥ 0 (m,), r = log π_ref − log π_new: Schulman's k3 estimate of KL(π_new ‖
    π_ref), at most `clamp` nats."""
    check_same_shape(new_logp=new_logp, reference_logp=reference_logp)
    log_ratio = reference_logp.detach() - new_logp
    estimate = log_ratio.clamp_max(LOG_RATIO_LIMIT).exp() - 1.0 - log_ratio
    return estimate if clamp is None else estimate.clamp_max(clamp)


def sampler_weights(batch: TokenBatch, config: LossConfig) -> Tensor | None:
    """Return (M,): what `tis_cap` multiplies each token's policy loss by, None without it. Taken once over the whole
    iteration, so that a segment's ratio does not depend on micro-batches."""
    if config.tis_cap is None:
        return None
    segment = {"token": None, "turn": batch.turn, "trajectory": batch.token_trajectory}[config.tis_level]
    ratio = sampler_ratio(batch.student_logp, batch.sampler_logp, segment)
    return (
        truncated(ratio, config.tis_cap)
        if config.tis == "truncate"
        else masked(ratio, config.tis_floor, config.tis_cap)
    )


def _clipped(ratio: Tensor, advantage: Tensor, config: LossConfig) -> Tensor:
    bounded = ratio.clamp(1.0 - config.clip_low, 1.0 + config.clip_high)
    loss = torch.maximum(-ratio * advantage, -bounded * advantage)
    if config.dual_clip is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -config.dual_clip * advantage), loss)


def _sequence_ratio(new_logp: Tensor, old_logp: Tensor, segment: Tensor) -> Tensor:
    sequence, count = number_rows(segment)
    mean = segment_mean((new_logp - old_logp).detach(), sequence, count).to(new_logp.dtype)
    whole = mean.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()[sequence]
    return whole * (new_logp - new_logp.detach()).exp()


def _needed(value: Tensor | None, name: str, reason: str) -> Tensor:
    if value is None:
        raise AlgorithmError(f"{name}: expected a tensor (m,) because {reason}, given None.")
    return value
