"""BabyAI as a Gymnasium environment in words: look, walk, carry and open until the mission is fulfilled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from rlsd.envs.babyai.bot import bot_plan
from rlsd.envs.babyai.course import Course
from rlsd.envs.babyai.hindsight import hindsight
from rlsd.envs.babyai.levels import level_of, make_world, package_seed, split_of
from rlsd.envs.babyai.words import COMMANDS, NOT_UNDERSTOOD, action_of, observed, refused
from rlsd.envs.babyai.world import World
from rlsd.envs.core import Hindsight, Info, Task, TextEnv
from rlsd.envs.errors import EnvError, closest

ENV_ID = "rlsd/BabyAI-v0"
_ARGUMENTS = ("level", "split", "max_steps")


class BabyAIEnv(TextEnv):
    """Commands: `turn left`, `turn right`, `go forward`, `pick up`, `drop`, `toggle`.

    Reward at success: 1 − 0.9 · steps / limit, as the package pays, else 0.

    Args:
        level: a level of the package ("GoToRedBall", "BossLevel", …) or a list of them, which take turns.
        split: train, valid or test, which share no layout.
        max_steps: the episode is truncated after this many steps; None: the package's limit, 16 to 2,304.

    Raises:
        EnvError: an unknown argument or value.
        DataError: the package minigrid is not installed.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/BabyAI-v0", level="GoToObjS4", split="test")  # doctest: +SKIP
        >>> observation, info = env.reset(seed=0)  # doctest: +SKIP
        >>> observation, reward, terminated, truncated, info = env.step("turn left")  # doctest: +SKIP
    """

    blocking = False
    response_format = "think"
    accepts_formats = ("think", "compact")

    def __init__(
        self,
        *,
        level: str | Sequence[str] = "GoToRedBall",
        split: str = "train",
        max_steps: int | None = None,
        render_mode: None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise EnvError(f"{ENV_ID} takes no argument {name!r}{closest(name, _ARGUMENTS)}")
        if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 1):
            raise EnvError(f"max_steps must be a whole number of at least 1, got {max_steps!r}")
        super().__init__(max_chars=8192)
        names = [level_of(name) for name in ([level] if isinstance(level, str) else level)]
        if not names or len(set(names)) < len(names):
            raise EnvError(f"level={level!r}: expected one level, or several different ones")
        self._split, self._max_steps = split, max_steps
        size = split_of(split).size
        if split == "train":
            size = -(-size // len(names))
        self._tasks = tuple(
            Task(env_id=ENV_ID, task_id=f"{name}/{split}/{i}", split=split, task_type=name, seed=i)
            for i in range(size)
            for name in names
        )
        self._world: World | None = None

    def tasks(self) -> Sequence[Task]:
        return self._tasks

    def content(self, task_id: str) -> str:
        """The mission, the agent's place, and the whole grid."""
        return self._make(self.task_of(task_id)).content()

    def package_seed(self, task_id: str) -> int:
        """The seed by which the package's own environment of the task's level makes the same episode."""
        task = self.task_of(task_id)
        return package_seed(task.task_type, self._split, task.seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self._open_episode(self.pick_task(options))
        self._observation = observed(self._episode())
        return self._observation, self._info(True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        world = self._episode()
        self._steps += 1
        number = action_of(action) if isinstance(action, str) else None
        over = world.won or world.lost
        told = "The task is over." if over else NOT_UNDERSTOOD if number is None else refused(world, number)
        if number is not None and not over:
            world.act(number)
            self._course.note(number, world.save())
            self._follow(number, moved=not told)
            if world.won:
                self._score = max(0.0, 1.0 - 0.9 * self._steps / self._limit)
        else:
            self._course.note(None, world.save())
        ended = world.won or world.lost
        self._observation = "\n".join(filter(None, (told, observed(world))))
        truncated = self._steps >= self._limit and not ended
        reward = self._score if world.won and not over else 0.0
        return self._observation, reward, ended, truncated, self._info(not told)

    def hindsight(self) -> Hindsight:
        self._episode()
        return hindsight(self._course)

    def expert(self, kind: str) -> str | None:
        """ "oracle" follows a short plan of one who knows the whole grid; "explorer" is the package's bot, which knows
        what has been in sight.

        Raises:
            EnvError: another kind.
        """
        world = self._episode()
        if kind not in ("explorer", "oracle"):
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        if kind == "oracle":
            plan = self._course.now().plan
        else:
            if self._bots is None:
                state = world.save()
                self._bots = bot_plan(self._course.copy_at(state), state, at_most=self._limit) or ()
            plan = self._bots
        if plan:
            return COMMANDS[plan[0]]
        return "turn left" if refused(world, COMMANDS.index("go forward")) else "go forward"

    def save(self) -> Any:
        """A snapshot of the episode; later steps do not change it."""
        kept = self._steps, self._score, self._observation, self._valid, self._bots
        return self._task, self._episode().save(), self._course.save(), kept

    def restore(self, saved: Any) -> tuple[str, dict[str, Any]]:
        """Continue from a snapshot; returns its last observation and `info`."""
        task, state, course, kept = saved
        if self._world is None or task != self._task:
            self._open_episode(task)
        self._episode().restore(state)
        self._course.restore(course)
        self._steps, self._score, self._observation, valid, self._bots = kept
        return self._observation, self._info(valid)

    def close(self) -> None:
        self._world = None

    def _open_episode(self, task: Task) -> None:
        self._task = task
        self._world = self._make(task)
        self._limit = self._max_steps or self._world.limit
        self._course = Course(partial(self._make, task), self._world.save())
        self._bots: tuple[int, ...] | None = None
        """What the bot would do from here; None: not asked yet."""
        self._steps, self._score = 0, 0.0

    def _follow(self, action: int, *, moved: bool) -> None:
        """Keep the bot's plan where the agent follows it or nothing has happened."""
        if self._bots and self._bots[0] == action:
            self._bots = self._bots[1:]
        elif moved:
            self._bots = None

    def _episode(self) -> World:
        if self._world is None:
            raise EnvError("no episode is open; call reset() first")
        return self._world

    def _make(self, task: Task) -> World:
        return make_world(task.task_type, package_seed(task.task_type, self._split, task.seed))

    def _info(self, valid: bool) -> dict[str, Any]:
        self._valid = valid
        world = self._episode()
        over = world.won or world.lost
        info: Info = {
            "task_id": self._task.task_id,
            "task_type": self._task.task_type,
            "goal": f"{world.mission}.",
            "admissible_actions": [] if over else [c for i, c in enumerate(COMMANDS) if not refused(world, i)],
            "valid_action": valid,
            "success": world.won,
            "score": self._score,
            "feedback": "",
        }
        return dict(info)
