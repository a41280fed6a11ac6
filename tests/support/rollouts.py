"""Playing a rollout in one call, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlsd.agents.scripted import ScriptedAgent
from rlsd.envs.core import Task, TextEnv
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.rollout.trajectory import Group
from tests.support.plain_worlds import Plain

WALK = ScriptedAgent(["walk"])


def play(
    make_env: Callable[[], TextEnv],
    agent: Any = WALK,
    *,
    siblings: int = 2,
    tasks: list[Task] | None = None,
    **settings: Any,
) -> list[Group]:
    rollout = Rollout(make_env, agent, RolloutSettings(**settings))
    groups = rollout.groups(tasks or list(Plain().tasks()), siblings, stream="train", iteration=0)
    rollout.close()
    return groups


def keys(groups: list[Group]) -> list[tuple[int, int]]:
    return [(t.key.group, t.key.sibling) for g in groups for t in g.trajectories]
