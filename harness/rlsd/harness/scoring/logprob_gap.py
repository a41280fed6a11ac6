"""Checks of the sampler: its log-probs against the learner's, and the policy version of every action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rlsd.agents.seeding import generator
from rlsd.agents.types import version_spans
from rlsd.envs.errors import RlsdError
from rlsd.harness.config import SamplerConfig
from rlsd.harness.rollout.trajectory import Trajectory


class SamplerDrift(RlsdError):
    """The sampler's log-probs or versions differ from those of the trained policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """|log π_sampler − log π_learner| over the tokens scored by both, in nats."""

    largest: float
    mean: float
    tokens: int

    @classmethod
    def of(cls, sampler_logp: Tensor, learner_logp: Tensor) -> Gap:
        """Over the tokens where (M,) `learner_logp` is not NaN."""
        apart = (sampler_logp - learner_logp)[~learner_logp.isnan()].abs()
        if not len(apart):
            return cls(largest=0.0, mean=0.0, tokens=0)
        return cls(largest=float(apart.max()), mean=float(apart.mean()), tokens=len(apart))

    def metrics(self, name: str, counted: str) -> dict[str, float]:
        """Under `name`, `name`_mean and `counted`."""
        return {name: self.largest, f"{name}_mean": self.mean, counted: self.tokens}

    def warning(self, settings: SamplerConfig, *, view: str = "") -> str | None:
        """The warning to print if the mean gap is above `logprob_gap_warn`, else None.

        Args:
            view: what was compared, if not the student view.

        Raises:
            SamplerDrift: the mean gap is above `logprob_gap_stop`.
        """
        message = (
            f"sampler and learner differ by {self.mean:.3g} nats a token on average{view and f' in the {view}'} "
            f"(largest {self.largest:.3g}, {self.tokens} tokens)"
        )
        if not self.mean <= settings.logprob_gap_stop:
            raise SamplerDrift(
                f"{message}; sampler.logprob_gap_stop is {settings.logprob_gap_stop:g}. Other weights, another "
                "temperature, or a sampler that truncates its distribution"
            )
        return (
            f"{message}; sampler.logprob_gap_warn is {settings.logprob_gap_warn:g}"
            if self.mean > settings.logprob_gap_warn
            else None
        )


def chosen(trajectories: Sequence[Trajectory], count: int, *, step: int, seed: int) -> list[int]:
    """Numbers of `count` random episodes with tokens for iteration `step`; all of them if there are fewer."""
    able = [n for n, t in enumerate(trajectories) if any(turn.action.token_ids for turn in t.turns)]
    order = generator(seed, "verify", step).permutation(len(able))
    return [able[int(i)] for i in order[:count]]


class Versions:
    """The policy versions a sampler received, in order; gives the age of an action.

    Args:
        allowed: the largest age in iterations: 1 if rollouts run ahead, else 0.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self._received: list[int] = []

    def give(self, version: int) -> None:
        """Record that the sampler now has `version`."""
        if not self._received or self._received[-1] != version:
            self._received.append(version)

    def staleness(self, trajectories: Sequence[Trajectory], now: int) -> dict[str, float]:
        """Mean age of the actions at policy `now`, an action's being the mean over its tokens, and largest age of a
        token, in iterations.

        Raises:
            SamplerDrift: a token of an unknown version, or of one that is too old.
        """
        versions = self._received if self._received and self._received[-1] == now else [*self._received, now]
        age = {version: len(versions) - 1 - i for i, version in enumerate(versions)}
        ages: list[float] = []
        oldest = 0
        for trajectory in trajectories:
            for turn in trajectory.turns:
                if not turn.action.token_ids:
                    continue
                spans = version_spans(turn.action)
                for version, _ in spans:
                    if age.get(version, self.allowed + 1) > self.allowed:
                        raise SamplerDrift(
                            f"task {trajectory.task.task_id}: an action was sampled from policy version {version}, the "
                            f"learner is at {now} and at most {self.allowed} iterations back are allowed "
                            f"(versions given: {', '.join(map(str, versions[-4:]))})"
                        )
                    oldest = max(oldest, age[version])
                ages.append(sum(age[version] * count for version, count in spans) / len(turn.action.token_ids))
        return {"mean": sum(ages) / max(1, len(ages)), "max": float(oldest)}
