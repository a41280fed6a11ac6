"""Values of an iteration's turns, for base advantages that need a critic."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlsd.algorithms import TokenBatch, value_targets
from rlsd.algorithms.advantage import AdvantageConfig
from rlsd.harness.learner.critic import Critic
from rlsd.harness.scoring.scorer import Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """What the critic reads of an iteration."""

    hidden: Tensor
    """(k, D) hidden states before this process's turns."""
    turns: Tensor
    """(k,) int64: their rows of the turn table."""


def states_of(batch: TokenBatch, scores: Scores) -> States:
    """The hidden states that predict the first token of each turn that `scores` holds."""
    first = torch.searchsorted(batch.turn, torch.arange(batch.trajectory.shape[0]))
    sampled = first < torch.searchsorted(batch.turn, torch.arange(batch.trajectory.shape[0]), right=True)
    first = first.clamp_max(max(0, len(batch.turn) - 1))
    turns = torch.nonzero(sampled & ~scores.logp[first].isnan()).squeeze(1)
    hidden = torch.zeros(0, 1) if scores.hidden is None else scores.hidden
    return States(hidden=hidden[first[turns].to(hidden.device)].float(), turns=turns)


def valued(batch: TokenBatch, critic: Critic, states: States) -> TokenBatch:
    """The batch with the value (K,) of every turn; 0 for one without a sampled token."""
    values = torch.full(batch.trajectory.shape, float("nan"))
    if len(states.turns):
        values[states.turns] = critic.values(states.hidden)
    return replace(batch, values=critic.ranks.known(values).nan_to_num(0.0))


def learn_values(
    batch: TokenBatch, config: AdvantageConfig, critic: Critic | None, states: States | None
) -> dict[str, float]:
    """Train the critic, if there is one, on the returns that followed; metrics of the values behind the advantages.

    `value_loss` is their mean squared error, `value_explained` 1 − variance of the errors over variance of the returns,
    0 where all returns are equal.
    """
    if critic is None or states is None:
        return {}
    targets = value_targets(batch, config)
    hidden = states.hidden if len(states.turns) else states.hidden.new_zeros(0, critic.size)
    loss = critic.fit(hidden, targets[states.turns])
    assert batch.values is not None
    spread = float(targets.var(correction=0)) if len(targets) else 0.0
    left = float((targets - batch.values.double()).var(correction=0)) if len(targets) else 0.0
    return {"value_loss": loss, "value_explained": 1.0 - left / spread if spread > 0 else 0.0}
