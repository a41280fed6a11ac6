"""Rollout: every episode is a coroutine, and a slot starts the next episode as soon as its own ends.

A failed episode is data: it leaves its group, with the reason, while its siblings continue. If the environment raised
or gave no answer, it is tried again first; if an answer broke a rule of `rlsd.envs.answers`, it is not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from rlsd.agents import event_loop
from rlsd.agents.types import Agent, EpisodeKey
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.interrupts import interrupts
from rlsd.harness.rollout.batch import Batch, Line
from rlsd.harness.rollout.env_calls import AGENT, BoxedEnv, Opening, close_all
from rlsd.harness.rollout.episode import EpisodePlayer, RewardFn, RolloutError
from rlsd.harness.rollout.settings import RolloutSettings, Usage
from rlsd.harness.rollout.trajectory import Group, Trajectory

__all__ = ["RewardFn", "Rollout", "RolloutError", "RolloutSettings", "check_some_played"]


class Rollout:
    """Plays tasks with an agent.

    Args:
        make_env: opens one environment; called once per slot, and again after a failure.
        agent: chooses actions; one object for all episodes.
        settings: limits.
        reward: replaces the sum of the environment's rewards as the episode's return.
        on_episode: called with every finished trajectory (progress bars).
    """

    def __init__(
        self,
        make_env: Callable[[], TextEnv],
        agent: Agent,
        settings: RolloutSettings,
        *,
        reward: RewardFn | None = None,
        on_episode: Callable[[Trajectory], None] | None = None,
    ) -> None:
        self.make_env = make_env
        self.agent = agent
        self.settings = settings
        self.reward = reward
        self.on_episode = on_episode
        self.usage = Usage()
        """Of the last call of `groups` or `play`."""
        self._boxes: list[BoxedEnv] = []

    def groups(
        self,
        tasks: Sequence[Task],
        siblings: int,
        *,
        stream: str,
        iteration: int,
        numbers: Sequence[int] | None = None,
        known: Container[tuple[int, int]] = (),
    ) -> list[Group]:
        """Play every task `siblings` times; groups are in the order of `tasks`, siblings in order of their number.

        Args:
            numbers: numbers of the groups among those of all processes, which seed the episodes; default: 0, 1, …
            known: (group, sibling) of episodes that are not played, because the caller has them.

        Raises:
            RolloutError: every episode failed; with `numbers` the caller asks `check_some_played`, over all processes.
        """
        batch = self.batch(tasks, siblings, stream=stream, iteration=iteration, numbers=numbers, known=known)
        self.play(batch)
        out = batch.groups()
        if numbers is None:
            check_some_played(out)
        return out

    def batch(
        self,
        tasks: Sequence[Task],
        siblings: int,
        *,
        stream: str,
        iteration: int,
        numbers: Sequence[int] | None = None,
        known: Container[tuple[int, int]] = (),
        max_turns: int | None = None,
    ) -> Batch:
        """The episodes that `groups` plays, to `play`, or to play in the background (`rlsd.harness.rollout.flight`).

        Args:
            max_turns: their turn limit; default: the settings'.
        """
        numbered = list(zip(range(len(tasks)) if numbers is None else numbers, tasks))
        keys = ((EpisodeKey(stream, iteration, g, s), task) for g, task in numbered for s in range(siblings))
        settings = self.settings if max_turns is None else replace(self.settings, max_turns=max_turns)
        usage = Usage()
        return Batch(
            tasks=numbered,
            plan=[(key, task) for key, task in keys if (key.group, key.sibling) not in known],
            player=EpisodePlayer(self.agent, settings, self.reward, usage),
            usage=usage,
        )

    def play(self, batch: Batch) -> None:
        """Play a batch to its end."""
        line = Line(ends=True)
        line.join(batch)
        self.usage = batch.usage
        batch.usage.slots = min(self.settings.slots, len(batch.plan))
        started = time.perf_counter()
        event_loop.run(self.serve(line, batch.usage.slots))
        batch.usage.wall_s = time.perf_counter() - started

    def close(self) -> None:
        """Close the environments; one that does not close in time is abandoned."""
        boxes, self._boxes = self._boxes, []
        close_all(boxes, self.settings.step_timeout_s)

    async def serve(self, line: Line, slots: int) -> None:
        """Play what waits in line until it ends."""
        while len(self._boxes) < slots:
            self._boxes.append(BoxedEnv(self.make_env, self.settings.step_timeout_s))
        opening = Opening()
        for box in self._boxes:
            box.opening = opening
        with interrupts() as interrupted:
            for box in self._boxes:
                box.interrupted = interrupted
            try:
                async with asyncio.TaskGroup() as tasks:
                    for box in self._boxes[:slots]:
                        tasks.create_task(self._slot(box, line))
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None  # the first error stopped the others, so it alone is reported

    async def _slot(self, box: BoxedEnv, line: Line) -> None:
        """Plays one episode after the other."""
        while (waiting := await line.next()) is not None:
            batch, key, task = waiting
            trajectory = await batch.player.play(box, key, task)
            if (again := batch.add(trajectory)) is not None:
                line.again((batch, again, task))
                continue
            if self.on_episode is not None:
                self.on_episode(trajectory)
            if not batch.left:
                batch.end()


def check_some_played(groups: Sequence[Group]) -> None:
    """
    Raises:
        RolloutError: every episode failed; quotes the first failure.
    """
    failed = [t for g in groups for t in g.failed]
    if failed and not any(g.trajectories for g in groups):
        first = failed[0].error
        where = " in the environment" if first is not None and not first.reason.startswith(AGENT) else ""
        raise RolloutError(f"all {len(failed)} episodes failed{where}, the first with {first}")
