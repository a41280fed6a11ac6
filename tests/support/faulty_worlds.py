"""Worlds that look well and spoil what is learned in them, each with one fault."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError
from rlsd.envs.key_door import KeysEnv


class Sound(KeysEnv):
    """Nothing is wrong with it: three splits, and all that the toy world has."""

    def __init__(self, *, split: str = "train", max_steps: int = 30) -> None:
        super().__init__(split="train" if split == "train" else "test", max_steps=max_steps)
        if split != "train":
            self._tasks = self._tasks[:16] if split == "valid" else self._tasks[16:]


class OneSplit(Sound):
    def __init__(self, *, split: str = "train") -> None:
        if split != "train":
            raise EnvError(f"unknown split {split!r}")
        super().__init__()


class SameTasks(Sound):
    """Whatever the split is called, its tasks are those of training."""

    def __init__(self, *, split: str = "train") -> None:
        super().__init__(split="train")


class Aimless(Sound):
    """The goal stands nowhere: neither in `info` nor in an observation."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        _, info = super().reset(seed=seed, options=options)
        return self._view(), info

    def _info(self, valid: bool) -> dict[str, Any]:
        return {**super()._info(valid), "goal": ""}


class PlanInOneText(Sound):
    def hindsight(self) -> Hindsight:
        return replace(super().hindsight(), plan="; ".join(self._plan()))  # pyright: ignore[reportArgumentType]


class PilingUp(Sound):
    """Every observation holds all earlier ones."""

    story = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.story, info = super().reset(seed=seed, options=options)
        return self.story, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        self.story += f"\n{observation}"
        return (self.story, *rest)  # pyright: ignore[reportReturnType]


class Talkative(Sound):
    """Its hindsight is a book."""

    def hindsight(self) -> Hindsight:
        return replace(super().hindsight(), whereabouts=tuple(f"grain of sand {i} lies still" for i in range(2000)))


class OneRoomForAll(Sound):
    """The room one stands in belongs to the class."""

    room = 1

    @property
    def _room(self) -> int:
        return OneRoomForAll.room

    @_room.setter
    def _room(self, room: int) -> None:
        OneRoomForAll.room = room


class Unseeded(Sound):
    """Where an episode starts is drawn by a generator of its own."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._room = random.Random().randint(1, 5)
        return f"You want to find the key. {self._view()}", self._info(True)


class SameList(Sound):
    """It hands out one list of commands and goes on writing into it."""

    def __init__(self, *, split: str = "train") -> None:
        super().__init__(split=split)
        self.commands: list[str] = []

    def _info(self, valid: bool) -> dict[str, Any]:
        self.commands[:] = self._admissible()
        return {**super()._info(valid), "admissible_actions": self.commands}


class Promising(Sound):
    """It lists a command that it never accepts."""

    def _info(self, valid: bool) -> dict[str, Any]:
        return {**super()._info(valid), "admissible_actions": [*self._admissible(), "swim"]}


class Unpaid(Sound):
    """A win pays nothing."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, _, *rest = super().step(action)
        return (observation, 0.0, *rest)  # pyright: ignore[reportReturnType]


class GoingOn(Sound):
    """A won episode goes on, and pays again."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self._done and self._steps > 25, not self._done and self._steps > 25, info


class OldPlan(Sound):
    """Its plan is always that of the first state."""

    plan: tuple[str, ...] = ()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        out = super().reset(seed=seed, options=options)
        self.plan = self._plan()
        return out

    def hindsight(self) -> Hindsight:
        return replace(super().hindsight(), plan=self.plan)


class Motionless(Sound):
    """Its distance never changes."""

    def hindsight(self) -> Hindsight:
        return replace(super().hindsight(), distance=3.0, distance_before=None)


class TooShort(Sound):
    """No expert can win in so few steps."""

    def __init__(self, *, split: str = "train") -> None:
        super().__init__(split=split, max_steps=2)


class Slow(Sound):
    """It waits for something, and says that it does not."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action not in self._admissible():
            time.sleep(0.26)
        return super().step(action)


class Shuffled(Sound):
    """Its tasks come out of a set."""

    def tasks(self) -> tuple[Task, ...]:
        order = {name: i for i, name in enumerate(set(self._layouts))}
        return tuple(sorted(self._tasks, key=lambda task: order[task.task_id]))
