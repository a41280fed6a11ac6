"""Checks of `rlsd check-env` of how an environment answers actions: unknown, hostile and listed ones."""

from __future__ import annotations

import random

from rlsd.envs.answer_checks import NONSENSE
from rlsd.envs.core import TextEnv

_STEPS = 12
_LISTED = 40
"""Listed actions that are tried, one by one, in the first state of a task."""
HOSTILE = (
    "", " ", "\n", "\x00\x07\x1b[31m", "a" * 100_000, "<|im_end|>", "søk 中文 🙂 \u202e", "go to\ngo to",
    "';--{}[]()%s",
)  # fmt: skip
"""Malformed actions that a language model may send."""


def unknown_action(env: TextEnv) -> str:
    env.reset(seed=6)
    *_, info = env.step(NONSENSE)
    if info["valid_action"]:
        return f"the action {NONSENSE!r} came back with valid_action=True; set it to False for unknown actions"
    return ""


def hostile_actions(env: TextEnv) -> str:
    for action in HOSTILE:
        env.reset(seed=7)
        try:
            observation, *_ = env.step(action)
        except Exception as error:
            return f"the action {action[:20]!r} raised {type(error).__name__}; answer with valid_action=False"
        if not env.observation_space.contains(observation):
            return f"the action {action[:20]!r} gave an observation outside the space; do not echo actions"
    return ""


def admissible_accepted(env: TextEnv) -> str:
    """What is listed is accepted: every action in the first state of two tasks, and some on the way."""
    for task in list(env.tasks())[:2]:
        _, info = env.reset(seed=16, options={"task": task.task_id})
        for action in list(info.get("admissible_actions") or ())[:_LISTED]:
            env.reset(seed=16, options={"task": task.task_id})
            *_, after = env.step(action)
            if after["valid_action"] is False:
                return _refused(action)
    draw = random.Random(8)
    _, info = env.reset(seed=8)
    for _ in range(_STEPS):
        actions = info.get("admissible_actions")
        action = draw.choice(actions) if actions else NONSENSE
        _, _, terminated, truncated, info = env.step(action)
        if actions and info["valid_action"] is False:
            return _refused(action)
        if terminated or truncated:
            break
    return ""


def _refused(action: str) -> str:
    return (
        f"the listed action {action!r} came back with valid_action=False: list what is accepted in this very state, or "
        "accept it"
    )
