"""The checks `answers` and `goal` of `rlsd check-env`."""

from __future__ import annotations

import random

from rlsd.envs.answers import hindsight_answer, reset_answer, step_answer
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.errors import AnswerError

NONSENSE = "xyzzy [no world knows this]"
_STEPS = 12
_TASKS = 4
"""Tasks that are played."""


def answers(env: TextEnv) -> str:
    """Episodes as a rollout plays them, until a rule is broken; each broken rule is named once."""
    broken: dict[str, str] = {}
    for task in list(env.tasks())[:_TASKS]:
        try:
            _answer_by_answer(env, task)
        except AnswerError as error:
            broken.setdefault(error.rule, str(error))
    return "; ".join(f"{rule}: {message}" for rule, message in broken.items())


def _answer_by_answer(env: TextEnv, task: Task) -> None:
    draw = random.Random(task.task_id)
    _, info = reset_answer(env.reset(seed=14, options={"task": task.task_id}))
    for _ in range(_STEPS):
        hindsight_answer(env.hindsight())
        actions = info.get("admissible_actions")
        _, _, terminated, truncated, info = step_answer(env.step(draw.choice(actions) if actions else NONSENSE))
        if terminated or truncated:
            break
    hindsight_answer(env.hindsight())


def goal(env: TextEnv) -> str:
    """A prompt shows the goal that `reset` gave, whatever the memory; one that is absent, or changes, stays hidden."""
    for task in list(env.tasks())[:_TASKS]:
        _, info = env.reset(seed=15, options={"task": task.task_id})
        first = info.get("goal")
        if not isinstance(first, str) or not first.strip():
            return f"task {task.task_id!r} has no goal (info['goal'] is {first!r}), so a model cannot see what to do"
        observation, *_, info = env.step(NONSENSE)
        later = info.get("goal", first)
        if later != first and str(later) not in observation:
            return (
                f"the goal of task {task.task_id!r} changed during the episode, which a model cannot see: prompts show "
                "that of reset; say it in the observation"
            )
    return ""
