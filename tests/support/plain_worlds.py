"""Small text environments that tests bend to their needs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rlsd.envs.core import Hindsight, Task, TextEnv


class Plain(TextEnv):
    """Counts steps; won after `length` of them. No expert, no hindsight.

    Args:
        length: steps to the goal.
        limit: the world truncates itself after so many.
    """

    blocking = False

    def __init__(self, *, split: str = "test", length: int = 3, limit: int = 9, tasks: int = 4) -> None:
        super().__init__()
        self.split, self.length, self.limit, self.count = split, length, limit, tasks

    def tasks(self) -> Sequence[Task]:
        return [
            Task(env_id="tests/Plain", task_id=f"t{i}", split=self.split, task_type=f"kind{i % 2}")
            for i in range(self.count)
        ]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.task, self.steps = self.pick_task(options), 0
        return f"{self.task.task_id}: you stand in a room.", self.info(True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        won = self.steps >= self.length
        return f"step {self.steps} done", float(won), won, not won and self.steps >= self.limit, self.info(True)

    def info(self, valid: bool) -> dict[str, Any]:
        won = self.steps >= self.length
        return {
            "task_id": self.task.task_id,
            "task_type": self.task.task_type,
            "goal": "walk on",
            "admissible_actions": ["walk", "look"],
            "valid_action": valid,
            "success": won,
            "score": min(1.0, self.steps / self.length),
            "feedback": "",
        }


class Faulty(Plain):
    """Fails where it is told to, as often as it is told to (over all instances that share `left`).

    Args:
        where: "reset", "hindsight", or "step 2" for the second step.
        left: failures still to come, by task id; shared and changed.
        hang: wait for `release` instead of raising.
    """

    def __init__(self, where: str, left: dict[str, int], *, hang: threading.Event | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where, self.left, self.hang = where, left, hang

    def _fail(self, where: str) -> None:
        if where == self.where and self.left.get(self.task.task_id, 0) > 0:
            self.left[self.task.task_id] -= 1
            if self.hang is not None:
                self.hang.wait(600)
                return
            raise OSError(f"broken in {where}")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        out = super().reset(seed=seed, options=options)
        self._fail("reset")
        return out

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        out = super().step(action)
        self._fail(f"step {self.steps}")
        return out

    def hindsight(self) -> Hindsight:
        self._fail("hindsight")
        return Hindsight(distance=float(self.length - self.steps))


class FaultyThreaded(Faulty):
    """The same, stepped in a thread."""

    blocking = True


class Canary(Plain):
    """Every field of its hindsight holds a word that stands nowhere else; its texts can spell special tokens.

    Args:
        spell: put into every observation, command and piece of hindsight.
    """

    DISTANCE, DISTANCE_BEFORE = 121212.0, 211211.0

    def __init__(self, *, spell: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spell = spell

    @staticmethod
    def word(field: str, step: int) -> str:
        """The canary of a field at a step, of letters that a small vocabulary holds."""
        numbers = {"distance": Canary.DISTANCE, "distance_before": Canary.DISTANCE_BEFORE}
        return f"{numbers[field]:g}" if field in numbers else f"qx{field[:4]}{'aeiouslt'[step]}xq"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        return observation + self.spell, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation + self.spell, reward, terminated, truncated, info

    def info(self, valid: bool) -> dict[str, Any]:
        out = super().info(valid)
        return {**out, "goal": out["goal"] + self.spell, "admissible_actions": ["walk" + self.spell, "look"]}

    def hindsight(self) -> Hindsight:
        def say(field: str) -> str:
            return self.word(field, self.steps) + self.spell

        return Hindsight(
            answer=say("answer"),
            demonstration=(say("demonstration"), "walk"),
            plan=(say("plan"), "walk"),
            missing=(say("missing"),),
            whereabouts=(say("whereabouts"),),
            lost=(say("lost"),),
            feedback=say("feedback"),
            changed=(say("changed"),),
            distance=self.DISTANCE,
            distance_before=self.DISTANCE_BEFORE,
        )


class Pacing(Plain):
    """Its hindsight is the distance to the goal: nearer once, the same twice, farther once."""

    DISTANCES = (3, 2, 2, 2, 3)

    def hindsight(self) -> Hindsight:
        return Hindsight(distance=float(self.DISTANCES[self.steps]))


def odd_tokens(trajectory: Any) -> float:
    """A reward that is mixed in every group, whatever an untrained model says, so that updates really happen."""
    return float(sum(i % 2 for turn in trajectory.turns for i in turn.action.token_ids))


def overflowing(trajectory: Any) -> float:
    """As `odd_tokens` in the first iteration; from then on so large that the square of a gradient is infinite."""
    if trajectory.key.stream == "train" and trajectory.key.iteration > 0:
        return 3e38 - 1e38 * trajectory.key.sibling
    return odd_tokens(trajectory)


class Coin(Plain):
    """Won or lost whatever is done: the chance is that of the task's kind, tossed with the episode's seed. Kinds take
    turns over the tasks; level k + 1 is kind k."""

    CHANCES = (0.0, 0.5, 1.0)

    def tasks(self) -> Sequence[Task]:
        kinds = [i % len(self.CHANCES) for i in range(self.count)]
        return [
            Task(env_id="tests/Coin", task_id=f"t{i}", split=self.split, task_type=f"kind{k}", level=k + 1)
            for i, k in enumerate(kinds)
        ]

    def expert(self, kind: str) -> str | None:
        return "walk"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        out = super().reset(seed=seed, options=options)
        won = self.np_random.random() < self.CHANCES[int(self.task.task_type[-1])]
        self.length, self.limit = (2, 9) if won else (9, 2)
        return out


class Reshuffled(Plain):
    """Each opening has its tasks in another order, as where a process shuffles them for itself."""

    opened = 0

    def tasks(self) -> Sequence[Task]:
        Reshuffled.opened += 1
        turn = Reshuffled.opened % self.count
        tasks = list(super().tasks())
        return [*tasks[turn:], *tasks[:turn]]


class ReshuffledByProcess(Plain):
    """A process has its tasks in an order of its own, and keeps to it; `turn` stands for the process."""

    turn = 0

    def tasks(self) -> Sequence[Task]:
        tasks = list(super().tasks())
        return [*tasks[self.turn :], *tasks[: self.turn]]
