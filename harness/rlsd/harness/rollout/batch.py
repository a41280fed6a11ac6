"""Episodes that belong together, such as an iteration's, and the line of those that wait for a slot."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from rlsd.agents.types import EpisodeKey
from rlsd.envs.core import Task
from rlsd.harness.rollout.episode import EpisodePlayer
from rlsd.harness.rollout.settings import Usage
from rlsd.harness.rollout.trajectory import Group, Trajectory

LOSSES = 8
"""How often an episode is played again, under the same key, after another environment took its process along."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """Groups of episodes."""

    tasks: Sequence[tuple[int, Task]]
    """Number and task of each group."""
    plan: Sequence[tuple[EpisodeKey, Task]]
    """What is to be played."""
    player: EpisodePlayer
    usage: Usage
    """From the batch's begin to its end."""
    finished: Future[None] = field(default_factory=Future)
    """Done with the last episode."""
    at_end: Callable[[], None] = lambda: None
    """Called with the last episode, before `finished`."""
    done: dict[tuple[int, int], Trajectory] = field(default_factory=dict)
    """By (group, sibling)."""
    lost: Counter[EpisodeKey] = field(default_factory=Counter)

    def add(self, trajectory: Trajectory) -> EpisodeKey | None:
        """Take an attempt; the key to play the episode again under, if it is not the last one."""
        key, error = trajectory.key, trajectory.error
        if error is not None and error.lost and self.lost[key] < LOSSES:
            self.lost[key] += 1
            return key
        if error is not None and error.may_pass and key.attempt < self.player.settings.retries:
            return key._replace(attempt=key.attempt + 1)
        self.done[key.group, key.sibling] = trajectory
        return None

    @property
    def left(self) -> int:
        """Episodes that have not ended."""
        return len(self.plan) - len(self.done)

    def end(self) -> None:
        """The last episode has ended."""
        self.at_end()
        self.finished.set_result(None)

    def groups(self) -> list[Group]:
        """In the order of the tasks, siblings in order of their number."""
        out: list[Group] = []
        played = [self.done[place] for place in sorted(self.done)]
        for number, task in self.tasks:
            mine = [t for t in played if t.key.group == number]
            good = tuple(t for t in mine if t.error is None)
            out.append(Group(task=task, trajectories=good, failed=tuple(t for t in mine if t.error is not None)))
        return out


Waiting = tuple[Batch, EpisodeKey, Task]


class Line:
    """Episodes that wait for a slot; used in one event loop.

    Args:
        ends: a slot that finds no episode ends; otherwise it waits for more.
    """

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self._waiting: deque[Waiting] = deque()
        self._idle: list[asyncio.Future[None]] = []

    def join(self, batch: Batch, *, first: bool = False) -> None:
        """Let a batch wait behind the others, or before them."""
        episodes = [(batch, key, task) for key, task in batch.plan]
        if first:
            self._waiting.extendleft(reversed(episodes))
        else:
            self._waiting.extend(episodes)
        self._wake()

    def again(self, episode: Waiting) -> None:
        """An episode that the slot which calls plays again, next."""
        self._waiting.appendleft(episode)

    async def next(self) -> Waiting | None:
        """The next episode; None at the end."""
        while not self._waiting:
            if self.ends:
                return None
            slot = asyncio.get_running_loop().create_future()
            self._idle.append(slot)
            await slot
        return self._waiting.popleft()

    def _wake(self) -> None:
        """The slots that were busy last go on, so that no more environments open than play at once."""
        for _ in range(min(len(self._waiting), len(self._idle))):
            slot = self._idle.pop()
            if not slot.done():
                slot.set_result(None)
