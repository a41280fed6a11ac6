"""The smallest run that is still one: settings of a run whose outcome does not matter, in a second or two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BASE: dict[str, Any] = {
    "iterations": 1,
    "algorithm": "rlsd",
    "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny", "max_steps": 3}},
    "model": {"tiny": {"layers": 1, "dim": 16, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 2}},
    "agent": {"format": "compact", "memory": "full", "max_new_tokens": 4},
    "rollout": {"tasks_per_iteration": 1, "group_size": 2},
    "hindsight": {"max_tokens": 128},
    "eval": {"every": 1, "episodes": 1, "at_start": False},
    "reward": "tests.support.plain_worlds:odd_tokens",
    "tensorboard": False,
}
SMALL: dict[str, Any] = {
    **BASE,
    "iterations": 2,
    "model": {"tiny": {"layers": 1, "dim": 32, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 4}},
    "agent": {"format": "compact", "memory": "full", "max_new_tokens": 5},
    "rollout": {"tasks_per_iteration": 2, "group_size": 2},
    "hindsight": {"max_tokens": 120},
    "learner": {"lr": 1e-3},
    "eval": {"every": 0, "at_start": False},
}


def small_run(**blocks: Any) -> dict[str, Any]:
    """A run whose weights move: `SMALL` with other values in the blocks named."""
    data = dict(SMALL)
    for name, block in blocks.items():
        both = isinstance(block, dict) and isinstance(data.get(name), dict)
        data[name] = {**data[name], **block} if both else block
    return data


Cli = Callable[..., str]
"""The command line that must fail (fixture `fails`): arguments in, the one line it told out."""
