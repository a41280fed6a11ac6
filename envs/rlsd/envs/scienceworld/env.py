"""ScienceWorld as a Gymnasium environment: text in, text out, the original's answers word for word."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rlsd.envs.core import Hindsight, Info, Task, TextEnv
from rlsd.envs.errors import EnvError, closest
from rlsd.envs.scienceworld.engines import BACKENDS, engine_for
from rlsd.envs.scienceworld.hindsight import hindsight
from rlsd.envs.scienceworld.native import NativeEngine
from rlsd.envs.scienceworld.shown import Engine, Shown, understood
from rlsd.envs.scienceworld.task_types import ENV_ID, simplifications_of, task_types, tasks_of

_ARGUMENTS = ("task_types", "split", "max_steps", "simplifications", "backend", "list_actions", "engine")
_ENDED = "The task is over."
_LEAVES = ("go to ", "open door to ", "teleport to ")
"""How an action begins for which one need not have seen the room."""


class ScienceWorldEnv(TextEnv):
    """Elementary science in a house of ten rooms: boil water, find a living thing, build a circuit, breed peas.

    The reward of an action is what it adds to the score (0 to 1), so that rewards sum up to the final score; a failed
    task scores 0. `terminated` = the task is solved or has failed.

    Args:
        task_types: names or numbers ("boil", "4-1"), one or several; None: all thirty.
        split: train, valid (the published "dev") or test.
        max_steps: the episode is truncated after this many actions.
        simplifications: "easy", or names separated by commas ("openDoors,teleportAction"); "": none.
        backend: "native" or "auto": this package's engine; "package": the original (package `scienceworld` and Java).
        list_actions: whether `info["admissible_actions"]` lists what makes sense now, hundreds to thousands of actions;
            without, the native engine is several times as fast.
        engine: opens another engine, as tests do; None: that of `backend`.

    Raises:
        EnvError: an unknown argument or value; the original is asked for and not installed.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/ScienceWorld-v0", task_types="find-animal", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("look around")
    """

    blocking = True
    response_format = "think"
    accepts_formats = ("think", "compact")

    def __init__(
        self,
        *,
        task_types: str | Iterable[str] | None = None,
        split: str = "train",
        max_steps: int = 100,
        simplifications: str = "",
        backend: str = "auto",
        list_actions: bool = True,
        engine: Callable[[], Engine] | None = None,
        render_mode: None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise EnvError(f"{ENV_ID} takes no argument {name!r}{closest(name, _ARGUMENTS)}")
        if not isinstance(max_steps, int) or max_steps < 1:
            raise EnvError(f"max_steps must be a whole number of at least 1, got {max_steps!r}")
        if backend not in BACKENDS:
            raise EnvError(f"unknown backend {backend!r}{closest(str(backend), BACKENDS)}")
        super().__init__(max_chars=65_536)
        kinds = _kinds(task_types)
        self._simplifications = simplifications_of(simplifications)
        if "noElectricalAction" in self._simplifications and (bad := [k.name for k in kinds if k.electrical]):
            raise EnvError(f"the simplification noElectricalAction makes {', '.join(bad)} impossible; leave them out")
        self._tasks = tasks_of(kinds, split)
        self._max_steps, self._list_actions = max_steps, list_actions
        self._engine = engine() if engine is not None else engine_for(backend, lists=list_actions)
        self.blocking = not isinstance(self._engine, NativeEngine)
        self._task: Task | None = None

    def tasks(self) -> Sequence[Task]:
        return self._tasks

    def content(self, task_id: str) -> str:
        """Task type, variation and simplifications, which determine the world."""
        return f"{self.task_of(task_id).task_id} {self._simplifications}".strip()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Open the task `options["task"]`, else one drawn with the environment's random generator.

        Raises:
            TaskError: an unknown task id.
            EnvLost: the Java process has ended.
        """
        super().reset(seed=seed)
        task = self.pick_task(options)
        self._shown = self._engine.open(task.task_type, task.seed, self._simplifications)
        self._task, self._goal = task, self._engine.goal()
        self._before: Shown | None = None
        self._seen = {_room(self._shown)}
        self._plan: tuple[str, ...] | None = None
        self._plan_before: tuple[str, ...] | None = None
        self._steps = 0
        return self._shown.observation, self._info(True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Do one action.

        Raises:
            EnvLost: the Java process has ended.
            EnvError: the simulator stopped with an exception of its own; no episode is open.
        """
        before = self._open()
        self._steps += 1
        valid = isinstance(action, str) and len(action) <= self.action_space.max_chars and not before.done  # pyright: ignore
        observation = _ENDED if before.done else "No known action matches that input."
        if valid:
            self._before, self._shown = before, self._engine.step(_plain(action))
            self._plan_before, self._plan = self._plan, None
            observation = self._shown.observation
            if observation.startswith(_room(self._shown)):
                self._seen.add(_room(self._shown))
            valid = understood(observation) or action in before.valid
        ended = self._shown.done
        truncated = self._steps >= self._max_steps and not ended
        reward = (max(self._shown.score, 0) - max(before.score, 0)) / 100
        return observation[: self._longest], reward, ended, truncated, self._info(valid)

    def hindsight(self) -> Hindsight:
        """Subgoals, a plan (the original's: while the episode follows its gold path), what the last action changed."""
        shown = self._open()
        gold, plan = self._engine.gold(), self._engine.plan()
        self._plan = plan
        return hindsight(shown, self._before, gold=gold, plan=plan, plan_before=self._plan_before)

    def expert(self, kind: str) -> str | None:
        """ "oracle": the next action of the plan, None where there is none; "explorer": the same, but in a room that it
        has not seen it looks around first, unless it only passes; without a plan it takes any listed action.

        Raises:
            EnvError: another kind.
        """
        shown = self._open()
        if kind not in ("explorer", "oracle"):
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        action = None if shown.done else (*(self._engine.plan() or ()), None)[0]
        if kind == "oracle" or shown.done:
            return action
        if action is None:
            assert self._task is not None
            draw = random.Random(f"{self._task.task_id} {self._steps}")
            return draw.choice(shown.valid) if shown.valid else "look around"
        return action if action.startswith(_LEAVES) or _room(shown) in self._seen else "look around"

    def close(self) -> None:
        """End the episode; the environment can be reset again."""
        self._task = None
        self._engine.close()

    def abandon(self) -> None:
        """End the Java process at once."""
        self._engine.kill()

    @property
    def _longest(self) -> int:
        return self.observation_space.max_chars  # pyright: ignore[reportAttributeAccessIssue]

    def _open(self) -> Shown:
        if self._task is None:
            raise EnvError("no episode is open; call reset() first")
        return self._shown

    def _info(self, valid: bool) -> dict[str, Any]:
        task = self._task
        assert task is not None
        info: Info = {
            "task_id": task.task_id,
            "task_type": task.task_type,
            "goal": self._goal,
            "admissible_actions": list(self._shown.valid) if self._list_actions else None,
            "valid_action": valid,
            "success": self._shown.score >= 100,
            "score": _score(self._shown),
            "feedback": "",
        }
        return dict(info)


def _room(shown: Shown) -> str:
    """The first line of a description, "This room is called the kitchen. In it, you see:"."""
    return shown.look.partition("\n")[0]


def _score(shown: Shown) -> float:
    return max(shown.score, 0) / 100


def _plain(action: str) -> str:
    """The action as the original can take it: one line, no control characters, no lone surrogates."""
    return "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else " " for c in action[:1000])


def _kinds(names: str | Iterable[str] | None) -> tuple[Any, ...]:
    return task_types(names)
