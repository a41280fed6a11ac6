"""Limits of a rollout, and how its time was used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    slots: int = 64
    """Episodes in flight at once."""
    max_turns: int | None = None
    """Turn limit beside the environment's own."""
    step_timeout_s: float = 60.0
    retries: int = 1
    """How often a failed episode is tried again."""
    hindsight: bool = True
    """Record `Hindsight` around every step."""
    seed: int = 0
    agent_failures: int = 0
    """How many attempts in a row may fail because the agent's server refused or did not answer; one more, or a refusal
    that every request would get (a wrong key or model), ends the rollout. 0: the first one does."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """Time use of one batch of episodes. Seconds of the environments and of the agent are summed over the slots;
    the rest is idle."""

    wall_s: float = 0.0
    env_s: float = 0.0
    """In environments: opening, reset, step and hindsight, failed attempts included."""
    agent_s: float = 0.0
    """Between asking the agent and its answer."""
    sampler_s: float = 0.0
    """In which the sampler was generating, where it was asked."""
    slots: int = 0

    @property
    def idle_share(self) -> float:
        """Share of the slots' time in which neither the environment nor the agent was busy."""
        return max(0.0, 1.0 - (self.env_s + self.agent_s) / max(1e-9, self.wall_s * self.slots))
