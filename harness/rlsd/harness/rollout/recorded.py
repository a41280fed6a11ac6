"""Episodes from a file: a user's own demonstrations, or what a run saved under `rollouts/`."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from pathlib import Path

from rlsd.agents.types import EpisodeKey
from rlsd.envs.core import Task
from rlsd.harness.config.blocks import ConfigError
from rlsd.harness.rollout.trajectory import StopReason, Trajectory, turn_from_json


def read_trajectories(path: str | Path, env_id: str, *, label: str = "sft.trajectories") -> list[Trajectory]:
    """A user's own episodes: JSON lines (plain or .gz) with `goal` and `turns` of `observation` and `action`.

    Also reads what a run wrote under `rollouts/`; failed episodes are left out. Optional: `response` (the whole text
    that the model should write), `success`, `task_type`, and the other fields of `Trajectory.to_json`.

    Args:
        label: the setting or option that names the file, for errors.

    Raises:
        ConfigError: the file is unreadable, or a line is not an episode; names the line.
    """
    path = Path(path)
    trajectories: list[Trajectory] = []
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            lines = [(number, line) for number, line in enumerate(file, start=1) if line.strip()]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{label}: cannot read {str(path)!r}: {reason}") from error
    for number, line in lines:
        try:
            episode = _episode(json.loads(line), number, env_id)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ConfigError(
                f"{label}: line {number} of {path} is no episode ({type(error).__name__}: {error}); expected "
                '{"goal": "…", "turns": [{"observation": "…", "action": "…"}, …]}'
            ) from error
        if episode.error is None:
            trajectories.append(episode)
    if not trajectories:
        raise ConfigError(f"{label}: {path} holds no episodes")
    return trajectories


def _episode(data: dict, number: int, env_id: str) -> Trajectory:  # type: ignore[type-arg]
    numbers = [data.get(name, 0.0) for name in ("score", "episode_return", "returns")]
    numbers += [turn.get("reward", 0.0) for turn in data["turns"]]
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
        raise ValueError("a score, a return or a reward is no finite number")
    if not isinstance(data.get("success", True), bool):
        raise ValueError(f"success is {data['success']!r}, expected true or false")
    if "key" in data and "task" in data:
        return Trajectory.from_json(data)
    kind = str(data.get("task_type", "user"))
    task = Task(env_id=env_id, task_id=f"line-{number}", split="user", task_type=kind)
    turns = tuple(turn_from_json(t) for t in data["turns"])
    if not turns:
        raise ValueError("an episode without turns")
    success = bool(data.get("success", True))
    return Trajectory(
        key=EpisodeKey("user", 0, number, 0),
        task=task,
        goal=str(data["goal"]),
        turns=turns,
        stop=StopReason.TERMINATED,
        success=success,
        score=float(data.get("score", success)),
        episode_return=float(data.get("episode_return", data.get("returns", success))),
    )
