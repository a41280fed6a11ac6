"""Is what the sampler says true? Its log-probs against the learner's, and the policy version of every action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rlsd.agents.seeding import generator
from rlsd.envs.errors import RlsdError
from rlsd.harness.config import SamplerConfig
from rlsd.harness.rollout.trajectory import Trajectory


class SamplerDrift(RlsdError):
    """The sampler's log-probs or versions are not those of the policy that is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """|log π_sampler − log π_learner| over the tokens that both gave, in nats."""

    largest: float
    mean: float
    tokens: int

    @classmethod
    def of(cls, sampler_logp: Tensor, learner_logp: Tensor) -> Gap:
        """Over the tokens where (M,) `learner_logp` is no NaN."""
        apart = (sampler_logp - learner_logp)[~learner_logp.isnan()].abs()
        if not len(apart):
            return cls(largest=0.0, mean=0.0, tokens=0)
        return cls(largest=float(apart.max()), mean=float(apart.mean()), tokens=len(apart))

    def warning(self, settings: SamplerConfig, *, view: str = "") -> str | None:
        """What to tell when the gap is above `logprob_gap_warn`.

        Args:
            view: what was compared, where it is not the acting view.

        Raises:
            SamplerDrift: it is above `logprob_gap_stop`.
        """
        told = (
            f"sampler and learner differ by {self.mean:.3g} nats a token on average{view and f' in the {view}'} "
            f"(largest {self.largest:.3g}, {self.tokens} tokens)"
        )
        if not self.mean <= settings.logprob_gap_stop:
            raise SamplerDrift(
                f"{told}; sampler.logprob_gap_stop is {settings.logprob_gap_stop:g}. Other weights, another "
                "temperature, or a sampler that truncates its distribution"
            )
        return (
            f"{told}; sampler.logprob_gap_warn is {settings.logprob_gap_warn:g}"
            if self.mean > settings.logprob_gap_warn
            else None
        )


def chosen(trajectories: Sequence[Trajectory], count: int, *, step: int, seed: int) -> list[int]:
    """`count` episodes with tokens, drawn for iteration `step`; all if there are no more."""
    able = [n for n, t in enumerate(trajectories) if any(turn.action.token_ids for turn in t.turns)]
    order = generator(seed, "verify", step).permutation(len(able))
    return [able[int(i)] for i in order[:count]]


class Versions:
    """The policy versions a sampler was given, in order; tells how old an action is.

    Args:
        allowed: the largest age in iterations: 1 where rollouts run ahead, else 0.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self._given: list[int] = []

    def give(self, version: int) -> None:
        """The sampler may have `version` from now on."""
        if not self._given or self._given[-1] != version:
            self._given.append(version)

    def staleness(self, trajectories: Sequence[Trajectory], now: int) -> dict[str, float]:
        """Mean and largest age of the actions at policy `now`, in iterations.

        Raises:
            SamplerDrift: an action of a version that was never given, or too old a one.
        """
        given = self._given if self._given and self._given[-1] == now else [*self._given, now]
        age = {version: len(given) - 1 - i for i, version in enumerate(given)}
        found: list[int] = []
        for trajectory in trajectories:
            for turn in trajectory.turns:
                if not turn.action.token_ids:
                    continue
                version = turn.action.policy_version
                if age.get(version, self.allowed + 1) > self.allowed:
                    raise SamplerDrift(
                        f"task {trajectory.task.task_id}: an action was sampled from policy version {version}, the "
                        f"learner is at {now} and at most {self.allowed} iterations back are allowed "
                        f"(versions given: {', '.join(map(str, given[-4:]))})"
                    )
                found.append(age[version])
        return {"mean": sum(found) / max(1, len(found)), "max": float(max(found, default=0))}
