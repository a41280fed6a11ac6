"""Distillation terms added to the policy loss, per token.

    forward_kl, reverse_kl, jsd   the full-vocabulary terms of `divergence`       OPSD, arXiv 2601.18734
    sampled    −sg(τ_t − s_t) · log π_new(y_t)                      OPSD's sampled-token form
    gate       sg σ(β Δ_t) · (sg τ_t − log π_new(y_t))              SDAR, arXiv 2605.15155

τ teacher, s stored student log-prob, Δ = τ − s. `sampled` and `gate` need no (m, V) logits; the gate is bounded
and pushes every token up, harder where the teacher agrees.

What differs and why: Δ uses the log-prob before the update, as RLSD's does; tokens without hindsight give 0 but stay
in the normaliser, so the coefficient means the same in every batch.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlsd.algorithms.divergence import DIVERGENCES
from rlsd.algorithms.errors import AlgorithmError, Settings, check_same_shape
from rlsd.algorithms.schedule import Schedule, constant


class DistillConfig(Settings):
    """A loss that pulls the student view towards the teacher view, independent of the outcome."""

    kind: Literal["none", "forward_kl", "reverse_kl", "jsd", "sampled", "gate"] = "none"
    """Term; equations at the top of this module."""
    coef: Schedule = constant(1.0)
    """η: weight by iteration; a number is a constant."""
    beta: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Teacher's share of the mixture (`jsd`)."""
    element_clip: float | None = Field(default=None, gt=0.0)
    """Upper limit of one vocabulary element's contribution; 0.05 in OPSD (full-vocabulary kinds). It can reverse
    gradients, see `divergence`."""
    divergence_clip: float | None = Field(default=None, gt=0.0)
    """Upper limit of a token's whole divergence, in nats, without gradient above (full-vocabulary kinds)."""
    gate_slope: float = Field(default=5.0, ge=0.0)
    """β inside the sigmoid (`gate`); 0 gives every token weight ½."""

    @model_validator(mode="after")
    def _clip_has_a_divergence(self) -> DistillConfig:
        for name in ("element_clip", "divergence_clip"):
            if getattr(self, name) is not None and self.kind not in DIVERGENCES:
                raise ValueError(f"{name}: expected a kind among {', '.join(DIVERGENCES)}, given {self.kind!r}.")
        return self

    def active(self, step: int) -> bool:
        """Return whether the term is in the loss in iteration `step`."""
        return self.kind != "none" and self.coef.value(step) > 0.0

    @property
    def full_vocabulary(self) -> bool:
        """Whether hidden states of both views are needed rather than sampled log-probs."""
        return self.kind in DIVERGENCES


def distill_loss(
    config: DistillConfig,
    *,
    new_logp: Tensor,
    old_logp: Tensor,
    teacher_logp: Tensor | None,
    divergence: Tensor | None,
    hinted: Tensor | None,
) -> Tensor:
    """Return the distillation term (m,) without its coefficient; 0 where `hinted` (m,) is False."""
    signal = divergence if config.full_vocabulary else teacher_logp
    name = "divergence" if config.full_vocabulary else "teacher_logp"
    if signal is None:
        raise AlgorithmError(f"{name}: expected a tensor (m,) for distillation kind {config.kind!r}, given None.")
    check_same_shape(new_logp=new_logp, old_logp=old_logp, hinted=hinted, **{name: signal})
    if config.full_vocabulary:
        loss = signal
    else:
        teacher = signal.detach()
        gap = teacher - old_logp.detach()
        if config.kind == "gate":
            loss = torch.sigmoid(config.gate_slope * gap) * (teacher - new_logp)
        else:
            loss = -gap * new_logp
    return loss if hinted is None else torch.where(hinted, loss, torch.zeros_like(loss))
