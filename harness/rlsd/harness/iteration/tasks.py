"""Which tasks an iteration plays (`rollout.task_sampler`).

    uniform     every epoch is a seeded permutation of the training split
    by_level    equal shares of the difficulty levels that are open, each a permutation of its own
    near_half   without replacement, in proportion to p (1 − p) + 0.02 for the estimated success rate p of a task

Draws depend on the seed, the iteration and the stream's name: the extra tasks of `rollout.refill` come from a stream of
their own and never change the order of the others. `near_half` also depends on the outcomes seen so far, which
checkpoints hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rlsd.agents.seeding import generator
from rlsd.envs.core import Task
from rlsd.harness.config import ConfigError, RunConfig
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.scoring.tables import epochs

LEAST = 0.02
"""ε of `near_half`: tasks that are always won or lost are drawn with this weight, 1/13 of the largest, 0.27."""
PRIOR = 2.0
"""Episodes that the rate of the task's type counts for in the rate of the task."""
KEPT = 0.95
"""Share of each count that an iteration keeps: the policy changes, so outcomes age."""


class TaskSampler(Protocol):
    """Draws tasks."""

    def draw(self, count: int, step: int, stream: str) -> list[Task]:
        """`count` tasks of iteration `step`; the same arguments and state give the same tasks."""
        ...

    def observe(self, groups: Sequence[Group]) -> None:
        """Learn from the groups of an iteration, those of all processes."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, JSON-able."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


def make_task_sampler(config: RunConfig, tasks: Sequence[Task]) -> TaskSampler:
    """The sampler a config names.

    Raises:
        ConfigError: `by_level`, and the tasks have no level.
    """
    settings = config.rollout
    if settings.task_sampler == "by_level":
        return ByLevel(tasks, seed=config.seed, every=settings.level_every)
    if settings.task_sampler == "near_half":
        return NearHalf(tasks, seed=config.seed)
    return Uniform(tasks, seed=config.seed)


class Uniform:
    """Every epoch is a seeded permutation."""

    def __init__(self, tasks: Sequence[Task], *, seed: int) -> None:
        self.tasks, self.seed = tasks, seed

    def draw(self, count: int, step: int, stream: str) -> list[Task]:
        return epochs(self.tasks, count, step, seed=self.seed, name=stream)

    def observe(self, groups: Sequence[Group]) -> None:
        """Nothing to learn."""

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


class ByLevel(Uniform):
    """Levels take turns, from the easiest on.

    Args:
        every: iterations after which the next harder level opens; None: all are open from the start.
    """

    def __init__(self, tasks: Sequence[Task], *, seed: int, every: int | None = None) -> None:
        super().__init__(tasks, seed=seed)
        self.every = every
        levels: dict[int, list[Task]] = defaultdict(list)
        for task in tasks:
            if task.level is None:
                types = ", ".join(sorted({t.task_type for t in tasks})[:8])
                raise ConfigError(
                    f"rollout.task_sampler by_level needs tasks with a difficulty level, but {task.task_id!r} of "
                    f"{task.env_id} has none, only a type ({types}): ALFWorld's generated levels have one "
                    "(env.kwargs.games: [gen-level-1, gen-level-2, …]), or take near_half"
                )
            levels[task.level].append(task)
        self.levels = dict(sorted(levels.items()))

    def draw(self, count: int, step: int, stream: str) -> list[Task]:
        names = list(self.levels)
        names = names if self.every is None else names[: 1 + step // self.every]
        turns = [names[(step * count + i) % len(names)] for i in range(count)]
        drawn = {
            name: iter(epochs(self.levels[name], count, step, seed=self.seed, name=f"{stream}/{name}"))
            for name in set(turns)
        }
        return [next(drawn[name]) for name in turns]


class NearHalf(Uniform):
    """Prefers tasks that are won about half of the time, where groups have a contrast.

    The rate of a type is Laplace's, (won + 1) / (played + 2); that of a task starts at its type's and follows its own
    episodes: (won + 2 p_type) / (played + 2).
    """

    def __init__(self, tasks: Sequence[Task], *, seed: int) -> None:
        super().__init__(tasks, seed=seed)
        self.types: dict[str, tuple[float, float]] = {}
        """Type → (won, played), aged."""
        self.seen: dict[str, tuple[float, float]] = {}
        """Task id → (won, played), aged."""

    def draw(self, count: int, step: int, stream: str) -> list[Task]:
        rng = generator(self.seed, stream, "near_half", step)
        weights = np.array([self.weight(task) for task in self.tasks])
        drawn: list[int] = []
        while len(drawn) < count:  # more than there are: every round deals all of them again
            size = min(count - len(drawn), len(self.tasks))
            drawn += rng.choice(len(self.tasks), size=size, replace=False, p=weights / weights.sum()).tolist()
        return [self.tasks[i] for i in drawn]

    def rate(self, task: Task) -> float:
        """Estimated success rate of a task."""
        won, played = self.types.get(task.task_type, (0.0, 0.0))
        prior = (won + 1) / (played + 2)
        won, played = self.seen.get(task.task_id, (0.0, 0.0))
        return (won + PRIOR * prior) / (played + PRIOR)

    def weight(self, task: Task) -> float:
        p = self.rate(task)
        return p * (1 - p) + LEAST

    def observe(self, groups: Sequence[Group]) -> None:
        for counts in (self.types, self.seen):
            for name, (won, played) in counts.items():
                counts[name] = (KEPT * won, KEPT * played)
        for group in groups:
            won, played = sum(t.success for t in group.trajectories), len(group.trajectories)
            for counts, name in ((self.types, group.task.task_type), (self.seen, group.task.task_id)):
                before = counts.get(name, (0.0, 0.0))
                counts[name] = (before[0] + won, before[1] + played)

    def state(self) -> dict[str, Any]:
        return {"types": self.types, "seen": self.seen}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.types = {name: (won, played) for name, (won, played) in state.get("types", {}).items()}
        self.seen = {name: (won, played) for name, (won, played) in state.get("seen", {}).items()}
