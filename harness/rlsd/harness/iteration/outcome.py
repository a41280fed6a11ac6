"""The result of an iteration: metrics, seconds by stage, the credit of each turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlsd.harness.learner.step import UpdateStats
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.token_credit import TokenCredit


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One iteration, as the run's log sees it."""

    metrics: dict[str, Any]
    timing: dict[str, float]
    trajectories: Sequence[Trajectory] = ()
    """Those that were trained on, then those that failed, whose credit is 0."""
    turn_credit: list[list[float]] | None = None
    """Mean credit of each turn, by trajectory; None if there is none."""
    tokens: TokenCredit | None = None
    """Credit of each token of those that were trained on."""
    hindsight: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """What the teacher read, by (trajectory, turn)."""


class Clock:
    """Seconds by stage, measured with `now`. A stage ends when the device has finished its work."""

    def __init__(self, now: Callable[[], float], device: torch.device) -> None:
        self.timing: dict[str, float] = {}
        self._now = now
        self._device = device
        self._last = now()

    def lap(self, name: str) -> None:
        """The stage `name` has ended."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = self._now()
        self.timing[name] = self.timing.get(name, 0.0) + now - self._last
        self._last = now


def update_metrics(stats: Sequence[UpdateStats]) -> dict[str, Any]:
    """Means over the optimizer steps of an iteration; the learning rate is the last step's."""
    n = max(1, len(stats))
    return {
        "loss": sum(s.loss for s in stats) / n,
        "grad_norm": sum(s.grad_norm for s in stats) / n,
        "lr": stats[-1].lr if stats else 0.0,
        "updates": len(stats),
        "trained_tokens": sum(s.tokens for s in stats),
        "padded_tokens": sum(s.padded_tokens for s in stats),
    }


def totals(counts: Sequence[Counter[str]]) -> dict[str, int]:
    """Sums over processes, by name."""
    total: Counter[str] = Counter()
    for mine in counts:
        total.update(mine)
    return dict(sorted(total.items()))


def by_trajectory(turn_credit: Tensor, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    """(K,) credit of turns as one list per trajectory."""
    out: list[list[float]] = []
    values, start = turn_credit.tolist(), 0
    for trajectory in trajectories:
        out.append(values[start : start + len(trajectory.turns)])
        start += len(trajectory.turns)
    return out
