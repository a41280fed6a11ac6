"""Base advantages: from the outcome of a trajectory or a turn alone, before hindsight.

    grpo                   A_i = (R_i − mean_G R) / (std_G R + 1e-6)       arXiv 2402.03300, §4.1
    dr_grpo                A_i =  R_i − mean_G R                           Dr.GRPO, arXiv 2503.20783
    rloo                   A_i =  R_i − mean_{j≠i} R_j                     arXiv 2402.14740
    reinforce_pp           A_i = (R_i − mean R) / (std R + 1e-6)           REINFORCE++, arXiv 2501.03262
                           over the whole batch
    reinforce_pp_baseline  the group mean is subtracted first, then as above
    gigpo, hgpo            per turn, from anchor states: see `gigpo`
    legacy_grpo            grpo over rows: mean and std run over the turns of the group, so a long failure
                           counts more often than a short win; verl-agent's default, kept to compare with
    none                   A = 1: imitation needs no outcome

What differs and why: statistics run over trajectories (except `legacy_grpo`), the deviation is unbiased, a
constant group gives exactly 0 instead of rounding noise over 1e-6, and REINFORCE++'s KL-in-the-reward is left
to the loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.errors import AlgorithmError, Settings
from rlsd.algorithms.gigpo import hgpo_steps, step_advantage, step_returns
from rlsd.algorithms.segment_ops import (
    number_rows,
    segment_count,
    segment_mean,
    segment_standardise,
    segment_sum,
)

AdvantageMethod = Literal[
    "grpo",
    "dr_grpo",
    "rloo",
    "reinforce_pp",
    "reinforce_pp_baseline",
    "gigpo",
    "hgpo",
    "legacy_grpo",
    "none",
]


class AdvantageConfig(Settings):
    """The rule from outcomes to base advantages."""

    method: AdvantageMethod = "grpo"
    """Rule; equations at the top of this module."""
    std: bool = True
    """Divide by the standard deviation where the rule allows both (`gigpo`, `hgpo`)."""
    gamma: float = Field(default=0.95, ge=0.0, le=1.0)
    """Discount of step rewards (`gigpo`, `hgpo`)."""
    step_weight: float = Field(default=1.0, ge=0.0)
    """ω: weight of the step advantage relative to the episode advantage (`gigpo`)."""
    history: int = Field(default=2, ge=0)
    """K: maximum number of earlier states that must also match (`hgpo`)."""
    alpha: float = Field(default=1.0, ge=0.0)
    """Level weights grow as (k + 1)^alpha (`hgpo`)."""
    episode_level: bool = False
    """Add the episode advantage to the anchor levels (`hgpo`)."""
    invalid_penalty: float = Field(default=0.0, ge=0.0)
    """Subtracted once per invalid turn; 0.1 on ALFWorld and WebShop, 0.01 on search in verl-agent (there in
    units of a return of 10). Keep 0 if the returns already include it."""
    penalty_on: Literal["return", "turn"] = "return"
    """`return`: from the trajectory's return and the turn's step reward, before normalising. `turn`: from the
    advantage of that turn, after normalising, so that it also acts in a group whose returns are all equal."""


def base_advantage(batch: TokenBatch, config: AdvantageConfig) -> Tensor:
    """Return A (K,), one number per turn, in the dtype of the returns; trajectory rules repeat the value over the
    turns.

    Raises:
        AlgorithmError: a return or step reward that is NaN or infinite, or an advantage that overflows.
    """
    _check_finite("returns", batch.returns, "trajectory")
    _check_finite("step_reward", batch.step_reward, "turn")
    invalid = (~batch.valid).double() * config.invalid_penalty
    trajectories, turns = batch.returns.shape[0], batch.trajectory.shape[0]
    returns, rewards = batch.returns.double(), batch.step_reward.double()
    if config.penalty_on == "return":
        returns = returns - segment_sum(invalid, batch.trajectory, trajectories)
        rewards = rewards - invalid

    if config.method == "none":
        advantage = torch.ones(turns, dtype=torch.float64, device=returns.device)
    elif config.method == "legacy_grpo":
        scores = returns[batch.trajectory] - (invalid if config.penalty_on == "turn" else 0.0)
        groups, count = number_rows(batch.group[batch.trajectory])
        advantage = segment_standardise(scores, groups, count, std=True)
    elif config.method == "gigpo":
        gains = step_returns(batch, rewards, config.gamma)
        episode = episode_advantage(returns, batch.group, "grpo" if config.std else "dr_grpo")
        advantage = episode[batch.trajectory] + config.step_weight * step_advantage(batch, gains, std=config.std)
    elif config.method == "hgpo":
        gains = step_returns(batch, rewards, config.gamma)
        advantage = hgpo_steps(batch, gains, history=config.history, alpha=config.alpha, std=config.std)
        if config.episode_level:
            episode = episode_advantage(returns, batch.group, "grpo" if config.std else "dr_grpo")
            advantage = advantage + episode[batch.trajectory]
    else:
        advantage = episode_advantage(returns, batch.group, config.method)[batch.trajectory]

    if config.penalty_on == "turn" and config.method != "legacy_grpo":
        advantage = advantage - invalid
    advantage = advantage.to(batch.returns.dtype)
    _check_finite("advantage", advantage, "turn")
    return advantage


def _check_finite(name: str, values: Tensor, row: str) -> None:
    """One NaN would silence its whole group: the mean of the group is NaN, and no update follows."""
    wrong = (~values.isfinite()).nonzero().flatten().tolist()
    if wrong:
        raise AlgorithmError(
            f"{name}: {len(wrong)} of {len(values)} are not finite, the first is {float(values[wrong[0]])} of {row} "
            f"{wrong[0]}; expected finite numbers: leave such episodes out."
        )


def episode_advantage(returns: Tensor, group: Tensor, method: str) -> Tensor:
    """Return A (N,) float64 from returns (N,) and group numbers (N,), which may be any integers."""
    groups, count = number_rows(group)
    whole = torch.zeros_like(groups)
    if method == "grpo":
        return segment_standardise(returns, groups, count, std=True)
    if method == "dr_grpo":
        return segment_standardise(returns, groups, count, std=False)
    if method == "rloo":
        size = segment_count(groups, count)
        others = size / (size - 1.0).clamp_min(1.0)
        return segment_standardise(returns, groups, count, std=False) * others[groups]
    if method == "reinforce_pp_baseline":
        returns = returns - segment_mean(returns, groups, count)[groups]
    return segment_standardise(returns, whole, 1, std=True)
