"""Input of the credit functions: three flat tables of tensors.

Shapes: M sampled tokens, K turns, N trajectories of one whole iteration. Only tokens the policy sampled are listed, in
trajectory, turn, token order; prompt, observation and closing tokens do not exist here, so they cannot carry
gradient. Credit computed on these tables does not depend on how turns are merged into rows, split into
micro-batches or spread over ranks.

Example, two turns of one trajectory, `go to desk` and `look`, each with its end token:
    turn        = [0, 0, 0, 0, 1, 1]      (M,) → turn table
    action_span = [1, 1, 1, 0, 1, 0]      (M,) the end token is sampled and trained, but is not part of the action
    trajectory  = [0, 0]                  (K,) → trajectory table
    group       = [0]                     (N,)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """One iteration's sampled tokens and their data. Log-probs in nats, detached."""

    turn: Tensor
    """(M,) int64: row of the turn table each token belongs to; non-decreasing."""
    action_span: Tensor
    """(M,) bool: the token is part of the action (not of the thought, the tags or the end token)."""
    sampler_logp: Tensor
    """(M,) float: log-prob recorded by the sampler when it drew the token."""
    student_logp: Tensor
    """(M,) float: log-prob under the learner's weights before the update, student view; in a run `sampler_logp` for
    tokens whose own no rule reads (`reads_logps`)."""
    teacher_logp: Tensor
    """(M,) float: log-prob under the teacher's weights, teacher view; `student_logp` where `hinted` is False."""
    hinted: Tensor
    """(M,) bool: a hindsight context existed for the token's turn; elsewhere m = 1."""
    trajectory: Tensor
    """(K,) int64: row of the trajectory table; non-decreasing."""
    position: Tensor
    """(K,) int64: index of the turn in its trajectory, from 0."""
    step_reward: Tensor
    """(K,) float: reward of the environment's step; what a reward of the user's own adds stands at the last turn."""
    anchor: Tensor
    """(K,) int64: equal numbers = same observation before the action (GiGPO's anchor state)."""
    valid: Tensor
    """(K,) bool: parser and environment accepted the action."""
    group: Tensor
    """(N,) int64: trajectories of one group share a number."""
    returns: Tensor
    """(N,) float: undiscounted return, after penalties that belong to the trajectory."""
    success: Tensor
    """(N,) bool."""
    distance_before: Tensor | None = None
    """(K,) float: expert steps to the goal before the turn; NaN where unknown, infinite where out of reach. None: the
    environment does not say."""
    distance_after: Tensor | None = None
    """(K,) float: the same after the turn."""
    unmet_before: Tensor | None = None
    """(K,) float: goal facts that do not hold before the turn; NaN where unknown. None: the environment does not
    say."""
    unmet_after: Tensor | None = None
    """(K,) float: the same after the turn."""
    values: Tensor | None = None
    """(K,) float: a critic's value of the state before the turn; None: there is no critic."""
    features: Tensor | None = None
    """(K, F) float: vector of the observation before the turn, for ProxMO; None: anchors alone say what is alike."""
    entropy: Tensor | None = None
    """(M,) float: entropy of the student view's distribution in nats; NaN where it was not computed."""
    teacher_entropy: Tensor | None = None
    """(M,) float: the same of the teacher view."""
    against: tuple[Tensor, ...] = ()
    """(M,) float each: log-probs under views with wrong hindsight; NaN where a view does not exist."""
    policy_version: Tensor | None = None
    """(K,) int64: weights the turn was sampled with, of several the oldest; None if the whole batch has one version."""

    @property
    def token_trajectory(self) -> Tensor:
        """(M,) int64: trajectory of each token."""
        return self.trajectory[self.turn]

    @property
    def gap(self) -> Tensor:
        """(M,) float: Δ = log π_T − log π_S, detached, 0 without hindsight."""
        delta = (self.teacher_logp - self.student_logp).detach()
        return torch.where(self.hinted, delta, torch.zeros_like(delta))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Final token advantages: the factors of the log-prob gradient in the loss."""

    advantage: Tensor
    """(M,) float: final token advantage Â = A · m."""
    base: Tensor
    """(M,) float: A, the base advantage of each token, before hindsight."""
    weight: Tensor
    """(M,) float: m ≥ 0; 1 without hindsight evidence."""
    turn_credit: Tensor
    """(K,) float: mean Â over the turn's tokens."""
    diagnostics: dict[str, float]
    """Mean |m − 1|, share clipped, Δ by outcome …, for the log."""
