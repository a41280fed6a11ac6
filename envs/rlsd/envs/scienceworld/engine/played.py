"""An episode by its actions. Where the list of actions is not asked for, nothing is drawn before it is needed.

The original draws random numbers for the names of its list at every step, and what is random later (bees, genes)
depends on how many. While nothing that is seen does, both are left out; then the episode is played again from its
start, with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from rlsd.envs.scienceworld.engine.actions.valid import could_be_listed
from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.scala import NeedsDraws, Undrawn


class Played:
    """One episode.

    Args:
        lists: whether the list of actions is asked for at every step; otherwise it costs a replay.
    """

    def __init__(self, key: tuple[str, int, str], *, lists: bool) -> None:
        self._key, self._lists = key, lists
        self._actions: list[str] = []
        self.replays = 0
        """How often the episode had to be played again."""
        self._same_since = 0
        """The world has not moved on after this step."""
        self.session = Session(*key)
        if not lists and all(bee.is_shut_in() or bee.is_out_of_sight() for bee in self.session.state.bees):
            self.session.state.random = Undrawn()

    @property
    def steps(self) -> int:
        return len(self._actions)

    @property
    def moved(self) -> bool:
        """Whether the last action changed anything: it took time, or asked a question or answered one."""
        return self._same_since == self.steps

    def step(self, action: str) -> str:
        """The answer to an action."""
        before = self._moment()
        try:
            observation = self.session.step(action)
        except NeedsDraws:
            self._replay(-1)
            observation = self.session.step(action)
        self._actions.append(action)
        if self._moment() != before:
            self._same_since = self.steps
        if not self._lists and self.draws:
            self.session.draw()
        return observation

    def valid(self) -> Sequence[str]:
        """All actions that make sense now, sorted."""
        session = self.session
        return tuple(session.valid()) if self._lists or session.choices else Listed(self, self.steps)

    def _moment(self) -> tuple[object, ...]:
        state = self.session.state
        return state.now, state.changes, self.session.place, len(self.session.choices)

    @property
    def draws(self) -> bool:
        """Whether random numbers are drawn."""
        return not isinstance(self.session.state.random, Undrawn)

    def listed(self, steps: int) -> tuple[str, ...]:
        """The list of actions after so many steps."""
        return tuple(self._replay(steps))

    def could_be_listed(self, text: str, steps: int) -> bool:
        """False where an input cannot be in the list after so many steps, whatever was drawn."""
        return steps < self._same_since or could_be_listed(text, self.session.names(everywhere=False))

    def follow_bees(self) -> None:
        """Find out where the bees are, if they may have left their hive out of sight."""
        if not self.draws and not all(bee.is_shut_in() for bee in self.session.state.bees):
            self._replay(-1)

    def _replay(self, wanted: int) -> list[str]:
        """Play all actions again and draw; the list of actions after `wanted` steps."""
        self.replays += 1
        listed: list[str] = []
        session = Session(*self._key)
        for i, action in enumerate(self._actions, start=1):
            session.step(action)
            if i == wanted:
                listed = session.valid()
            else:
                session.draw()
        self.session = session
        return listed


class Listed(Sequence[str]):
    """The actions that made sense after so many steps, listed when they are looked at."""

    def __init__(self, played: Played, steps: int) -> None:
        self._played, self._steps = played, steps
        self._actions: tuple[str, ...] | None = None

    def _made(self) -> tuple[str, ...]:
        if self._actions is None:
            self._actions = self._played.listed(self._steps)
        return self._actions

    def __len__(self) -> int:
        return len(self._made())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._made()[index]

    def __contains__(self, action: object) -> bool:
        if self._actions is None and isinstance(action, str) and not self._played.could_be_listed(action, self._steps):
            return False
        return action in self._made()
