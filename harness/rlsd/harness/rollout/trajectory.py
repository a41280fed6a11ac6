"""Turns, trajectories and groups of trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from rlsd.agents.types import Action, EpisodeKey, FinishReason, History
from rlsd.agents.usage import usage_from_json
from rlsd.envs.answers import RULES
from rlsd.envs.core import Hindsight, Task
from rlsd.harness.rollout.prompts import restored, written


class StopReason(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"
    """The task ended."""
    TRUNCATED = "truncated"
    """The environment's step limit."""
    MAX_TURNS = "max_turns"
    """The run's turn limit, tighter than the environment's."""
    CONTEXT_FULL = "context_full"
    """The next prompt would not fit into the model's context."""
    ERROR = "error"
    """The environment or the agent's server failed; see `Trajectory.error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an episode failed, and in which call of the environment or the agent."""

    boundary: str
    """"env.reset", "env.step", "env.hindsight", "agent.act" …"""
    message: str
    reason: str = "raised"
    """The rule of `rlsd.envs.answers.RULES` that an answer broke ("reward" …), or "raised", "timeout" or "agent", with
    the kind of `rlsd.agents.api.errors.KINDS` where there is one ("agent.refused")."""
    lost: bool = False
    """Its worker process was lost, perhaps because of another environment in it."""

    @property
    def may_pass(self) -> bool:
        """Whether another attempt may go better: no rule was broken."""
        return self.reason not in RULES

    def __str__(self) -> str:
        return f"{self.boundary}: {self.message}"


def reasons(trajectories: Iterable[Trajectory]) -> dict[str, int]:
    """How many episodes failed, by reason, the most frequent first."""
    counts = Counter(t.error.reason for t in trajectories if t.error is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def first_failures(trajectories: Iterable[Trajectory]) -> dict[str, Failure]:
    """The first failure of each reason."""
    first: dict[str, Failure] = {}
    for trajectory in trajectories:
        if trajectory.error is not None:
            first.setdefault(trajectory.error.reason, trajectory.error)
    return first


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn: observation, action and result."""

    observation: str
    action: Action
    reward: float
    next_observation: str
    valid: bool
    """Whether parser and environment accepted the action."""
    feedback: str = ""
    """What the environment shows the agent about the action."""
    hindsight_before: Hindsight = field(default_factory=Hindsight)
    hindsight_after: Hindsight = field(default_factory=Hindsight)
    act_s: float = 0.0
    """Seconds that the agent took, waiting for a batch included."""
    step_s: float = 0.0
    """Seconds in the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One episode. `episode_return` is what the algorithm optimises; `success` and `score` are what is reported.

    Example: two turns, `go to desk` (reward 0) and `take pen` (reward 1): episode_return 1.0, success True,
    stop TERMINATED.
    """

    key: EpisodeKey
    task: Task
    goal: str
    turns: tuple[Turn, ...]
    stop: StopReason
    success: bool
    score: float
    episode_return: float
    error: Failure | None = None

    def history(self, turn: int) -> History:
        """What the agent knew when it chose action number `turn`, without admissible commands."""
        return History(
            goal=self.goal,
            observations=tuple(t.observation for t in self.turns[: turn + 1]),
            actions=tuple(t.action for t in self.turns[:turn]),
        )

    def to_json(self, *, prompts: bool = False) -> dict[str, Any]:
        """Everything except times.

        Args:
            prompts: with what the agent read at each turn, as `rlsd.harness.rollout.prompts` writes it; without, they
                follow from responses and observations.
        """
        turns = [_turn_json(t) for t in self.turns]
        if prompts:
            read = written(t.action for t in self.turns)
            turns = [{**turn, **({"prompt": prompt} if prompt else {})} for turn, prompt in zip(turns, read)]
        return {
            "key": list(self.key),
            "task": self.task.to_json(),
            "goal": self.goal,
            "stop": self.stop.value,
            "success": self.success,
            "score": self.score,
            "episode_return": self.episode_return,
            "error": None if self.error is None else asdict(self.error),
            "turns": turns,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Trajectory:
        error = data.get("error")
        turns = [turn_from_json(t) for t in data["turns"]]
        actions = restored([t.action for t in turns], [t.get("prompt", {}) for t in data["turns"]])
        return cls(
            key=EpisodeKey(*data["key"]),
            task=Task.from_json(data["task"]),
            goal=data["goal"],
            turns=tuple(replace(turn, action=action) for turn, action in zip(turns, actions)),
            stop=StopReason(data["stop"]),
            success=data["success"],
            score=data["score"],
            episode_return=data["episode_return"] if "episode_return" in data else data["returns"],
            error=None if error is None else Failure(**error),
        )


def _turn_json(turn: Turn) -> dict[str, Any]:
    action = turn.action
    return {
        "observation": turn.observation,
        "action": action.text,
        "format_ok": action.valid,
        "response": action.response,
        "token_ids": list(action.token_ids),
        "logps": [round(x, 6) for x in action.logps],
        "action_span": list(action.action_span),
        "thought_span": list(action.thought_span),
        "finish": action.finish.value,
        "policy_version": action.policy_version,
        **({"versions": [list(span) for span in action.versions]} if action.versions else {}),
        "explored": action.explored,
        "reward": turn.reward,
        "next_observation": turn.next_observation,
        "valid": turn.valid,
        "feedback": turn.feedback,
        "hindsight_before": turn.hindsight_before.to_json(),
        "hindsight_after": turn.hindsight_after.to_json(),
        **({} if action.usage is None else {"usage": action.usage.to_json()}),
    }


def turn_from_json(data: dict[str, Any]) -> Turn:
    action = Action(
        text=data["action"],
        valid=data.get("format_ok", True),
        response=data.get("response", data["action"]),
        token_ids=tuple(data.get("token_ids", ())),
        logps=tuple(data.get("logps", ())),
        action_span=(data.get("action_span", [0, 0])[0], data.get("action_span", [0, 0])[1]),
        thought_span=(data.get("thought_span", [0, 0])[0], data.get("thought_span", [0, 0])[1]),
        finish=FinishReason(data.get("finish", "scripted")),
        policy_version=data.get("policy_version", 0),
        versions=tuple((version, count) for version, count in data.get("versions", ())),
        explored=data.get("explored", False),
        usage=usage_from_json(data.get("usage")),
    )
    return Turn(
        observation=data["observation"],
        action=action,
        reward=data.get("reward", 0.0),
        next_observation=data.get("next_observation", ""),
        valid=data.get("valid", True),
        feedback=data.get("feedback", ""),
        hindsight_before=Hindsight.from_json(data.get("hindsight_before", {})),
        hindsight_after=Hindsight.from_json(data.get("hindsight_after", {})),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """G episodes of one task. Failed episodes are in `failed`, not in `trajectories`."""

    task: Task
    trajectories: tuple[Trajectory, ...]
    failed: tuple[Trajectory, ...] = ()
