"""One episode: a coroutine from reset to stop. Failures of the environment are recorded, not raised."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from rlsd.agents.seeding import derive
from rlsd.agents.types import Action, Agent, ContextFull, EpisodeKey, History, Informed
from rlsd.agents.vllm.errors import ServerReply, ServerUnreachable
from rlsd.envs.answers import hindsight_answer, reset_answer, step_answer, told
from rlsd.envs.core import Hindsight, Task, TextEnv
from rlsd.envs.errors import RlsdError
from rlsd.harness.rollout.env_calls import AGENT, BoxedEnv, EpisodeError
from rlsd.harness.rollout.settings import RolloutSettings, Usage
from rlsd.harness.rollout.trajectory import Failure, StopReason, Trajectory, Turn

T = TypeVar("T")
_FLOAT32 = float(np.finfo(np.float32).max)
RewardFn = Callable[[Trajectory], float]
"""A user's own reward: the episode's return from the finished trajectory."""


class RolloutError(RlsdError):
    """All episodes failed, or the reward function did."""


class EpisodePlayer:
    """Plays the episodes of one batch, any number of them at once.

    Args:
        agent: chooses actions; one object for all episodes.
        settings: limits.
        reward: replaces the sum of the environment's rewards as the episode's return.
        usage: where the time is added up.
    """

    def __init__(self, agent: Agent, settings: RolloutSettings, reward: RewardFn | None, usage: Usage) -> None:
        self.agent = agent
        self.settings = settings
        self.reward = reward
        self.usage = usage
        self.decoded_tokens = 0
        """Tokens of all actions, those of failed attempts included."""
        self._agent_failed = 0
        """Failures of the agent since its last action."""

    async def play(self, box: BoxedEnv, key: EpisodeKey, task: Task) -> Trajectory:
        """One attempt at an episode."""
        self.agent.begin(key)
        try:
            trajectory = await self._turns(box, key, task)
        finally:
            self.agent.end(key)
        if self.reward is not None and trajectory.error is None:
            trajectory = replace(trajectory, episode_return=_judged(self.reward, trajectory))
        return trajectory

    async def _turns(self, box: BoxedEnv, key: EpisodeKey, task: Task) -> Trajectory:
        turns: list[Turn] = []
        info: dict[str, Any] = {}
        goal = ""
        error: Failure | None = None
        stop = StopReason.ERROR
        try:
            seed = derive(self.settings.seed, *key, "env")
            observation, info = await self._call(
                box, "env.reset", lambda env: reset_answer(env.reset(seed=seed, options={"task": task.task_id}))
            )
            goal = info.get("goal", "")
            if isinstance(self.agent, Informed):
                self.agent.bind(key, box.env)
            before = await self._hindsight(box)
            history = History(goal=goal, observations=(observation,), actions=(), admissible=_commands(info))
            while True:
                asked = time.perf_counter()
                try:
                    action = await self._act(history, key)
                finally:
                    acted = time.perf_counter()
                    self.usage.agent_s += acted - asked
                observation, reward, terminated, truncated, info = await self._call(
                    box, "env.step", lambda env, text=action.text: step_answer(env.step(text))
                )
                stepped = time.perf_counter()
                after = await self._hindsight(box)
                turns.append(
                    Turn(
                        observation=history.observations[-1],
                        action=action,
                        reward=reward,
                        next_observation=observation,
                        valid=action.valid and info.get("valid_action", True),
                        feedback=info.get("feedback", ""),
                        hindsight_before=before,
                        hindsight_after=after,
                        act_s=acted - asked,
                        step_s=stepped - acted,
                    )
                )
                before = after
                reason = self._stop(terminated, truncated, len(turns))
                if reason is not None:
                    stop = reason
                    break
                history = History(
                    goal=goal,
                    observations=(*history.observations, observation),
                    actions=(*history.actions, action),
                    admissible=_commands(info),
                    admissible_before=(*history.admissible_before, history.admissible),
                )
        except ContextFull:
            stop = StopReason.CONTEXT_FULL
        except EpisodeError as failure:
            error = Failure(
                boundary=failure.boundary, message=failure.message, reason=failure.reason, lost=failure.lost
            )
        return Trajectory(
            key=key,
            task=task,
            goal=goal,
            turns=tuple(turns),
            stop=stop,
            success=error is None and info.get("success", False),
            score=0.0 if error else info.get("score", 0.0),
            episode_return=sum(t.reward for t in turns),
            error=error,
        )

    async def _act(self, history: History, key: EpisodeKey) -> Action:
        """The agent's action.

        Raises:
            EpisodeError: the agent's server refused or did not answer, and the settings allow that.
        """
        try:
            action = await self.agent.act(history, key)
        except (ServerReply, ServerUnreachable) as error:
            self._agent_failed += 1
            if self._agent_failed > self.settings.agent_failures or (isinstance(error, ServerReply) and error.for_all):
                raise
            reason = f"{AGENT}.{error.kind}" if error.kind else AGENT
            raise EpisodeError("agent.act", told(error), reason=reason) from error
        self._agent_failed = 0
        self.decoded_tokens += len(action.token_ids)
        return action

    def _stop(self, terminated: bool, truncated: bool, turns: int) -> StopReason | None:
        if terminated:
            return StopReason.TERMINATED
        if truncated:
            return StopReason.TRUNCATED
        if self.settings.max_turns is not None and turns >= self.settings.max_turns:
            return StopReason.MAX_TURNS
        return None

    async def _hindsight(self, box: BoxedEnv) -> Hindsight:
        if not self.settings.hindsight:
            return Hindsight()
        return await self._call(box, "env.hindsight", lambda env: hindsight_answer(env.hindsight()))

    async def _call(self, box: BoxedEnv, boundary: str, function: Callable[[TextEnv], T]) -> T:
        """`box.call`, timed."""
        started = time.perf_counter()
        try:
            return await box.call(boundary, function)
        finally:
            self.usage.env_s += time.perf_counter() - started


def _judged(reward: RewardFn, trajectory: Trajectory) -> float:
    """The user's reward as a finite number.

    Raises:
        RolloutError: the function raised, or returned no finite number; names the task.
    """
    try:
        value = float(reward(trajectory))
    except Exception as error:  # whatever a user's function does
        task = trajectory.task.task_id
        raise RolloutError(f"the reward function failed on task {task}: {type(error).__name__}: {error}") from error
    if not abs(value) <= _FLOAT32:
        raise RolloutError(
            f"the reward function gave {value} on task {trajectory.task.task_id}; expected a number that float32 holds"
        )
    return value


def _commands(info: dict[str, Any]) -> tuple[str, ...] | None:
    commands = info.get("admissible_actions")
    return None if commands is None else tuple(commands)
