"""What all things of one episode share: random numbers, the number of the next thing, the present tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlsd.envs.scienceworld.engine.world.kept import Kept
from rlsd.envs.scienceworld.engine.world.scala import JavaRandom


class State:
    """Made anew for every episode.

    Args:
        advance: what happens to any thing in a tick (`physics.advance`).
    """

    def __init__(self, advance: Callable[[Any], None]) -> None:
        self.advance = advance
        self.random = JavaRandom()
        self.now = 0
        self.changes = 0
        """Grows with every change of a place or a name, so that equal numbers mean equal names."""
        self.bees: list[Any] = []
        self.roaming: list[Any] = []
        """Bees and the agent."""
        self._roaming_in: dict[Any, list[Any]] = {}
        self._roaming_at = -1
        self.wired = False
        """Something has been connected electrically."""
        self.simplifications: frozenset[str] = frozenset()
        self.names, self.tokens, self.collected, self.reach, self.sights = Kept(), Kept(), Kept(), Kept(), Kept()
        """Names of things, as inputs are compared with them; all that is in things, and what of it is within reach, and
        what can be seen."""
        self._number = 0

    def roaming_in(self, room: Any) -> list[Any]:
        """What roams and was in a room, at any depth, when the present tick began; in the order of a tick."""
        if self._roaming_at != self.now:
            self._roaming_at, self._roaming_in = self.now, {}
            for one in self.roaming:
                self._roaming_in.setdefault(one.room(), []).append(one)
        found = self._roaming_in.get(room, [])
        return sorted(found, key=lambda one: one.path()) if len(found) > 1 else found

    def next_number(self) -> int:
        """Things are numbered in the order they are made."""
        self._number += 1
        return self._number
