"""A world that a tiny model learns in seconds: which of two doors is it? Only hindsight knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsd.envs.core import Hindsight, Task, TextEnv

DOORS = ("left", "right")


class Doors(TextEnv):
    """The explorer tries the left door first.

    Args:
        silent: fields of `Hindsight` that stay empty.
        foolish: the expert knocks, which helps nobody.
    """

    blocking = False
    accepts_formats = ("compact", "think")

    def __init__(self, *, split: str = "train", silent: Sequence[str] = (), foolish: bool = False) -> None:
        super().__init__()
        self.silent, self.foolish = tuple(silent), foolish
        self._tasks = [
            Task(env_id="tests/Doors", task_id=f"{split}-{i}", split=split, task_type="doors", seed=i)
            for i in range(24)
        ]

    def tasks(self) -> Sequence[Task]:
        return self._tasks

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.task = self.pick_task(options)
        self.door, self.steps, self.won = DOORS[self.task.seed % 2], 0, False
        return "two doors", self._info(True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.won = action == self.door
        text = "it opens" if self.won else "locked"
        return text, float(self.won), self.won, self.steps >= 3 and not self.won, self._info(action in DOORS)

    def expert(self, kind: str) -> str | None:
        if self.foolish:
            return "knock"
        return self.door if kind == "oracle" else DOORS[min(self.steps, 1)]

    def hindsight(self) -> Hindsight:
        known: dict[str, Any] = {"plan": () if self.won else (self.door,), "distance": float(not self.won)}
        return Hindsight(**{name: value for name, value in known.items() if name not in self.silent})

    def _info(self, valid: bool) -> dict[str, Any]:
        return {
            "task_id": self.task.task_id,
            "task_type": "doors",
            "goal": "open the door.",
            "admissible_actions": list(DOORS),
            "valid_action": valid,
            "success": self.won,
            "score": float(self.won),
        }
