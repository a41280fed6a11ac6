"""Subgoals of a task and its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlsd.envs.scienceworld.engine.thing import Thing
from rlsd.envs.scienceworld.shown import Subgoal

if TYPE_CHECKING:
    from rlsd.envs.scienceworld.engine.session import Session

OPEN, REACHED, FAILED = "open", "reached", "failed"
Check = Callable[["Session", "Thing | None"], str]
"""Session and the focus, or None → OPEN, REACHED or FAILED."""


@dataclass(slots=True)
class Goal:
    text: str
    check: Check
    defocus: bool = False
    """Reaching it ends the focus."""
    asks: str = ""
    """The name of the thing that has to be focused on, where that is what it asks for."""
    key: str = ""
    after: str = ""
    """The key of an optional one that has to be reached before it counts."""


@dataclass(slots=True)
class Goals:
    """Subgoals in order, each worth the same, and optional ones that together are worth less than one of these."""

    ordered: list[Goal]
    optional: list[Goal]
    at: int = 0
    """How many of the ordered ones are reached."""
    failed: bool = False
    keys: set[str] = field(default_factory=set)
    """Keys of what has been reached."""
    last: Thing | None = None
    """The thing with which the last ordered one was reached."""
    reached: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reached = [False] * len(self.optional)

    def reset(self) -> None:
        self.at, self.failed, self.last = 0, False, None
        self.reached = [False] * len(self.optional)

    @property
    def completed(self) -> bool:
        return self.at >= len(self.ordered)

    def score(self) -> float:
        """From 0 to 1, or -1 for a failed task."""
        if self.failed:
            return -1.0
        unit = (1 / (len(self.ordered) + 1)) / len(self.optional) if self.optional else 0.0
        extra = 0.0
        for reached in self.reached:
            if reached:
                extra += unit
        return min(self.at / len(self.ordered) + extra, 1.0)

    def tick(self, session: Session) -> None:
        self._tick_ordered(session)
        self._tick_optional(session)

    def _tick_ordered(self, session: Session) -> None:
        while not self.completed:
            if session.focus is None:
                return
            goal = self.ordered[self.at]
            result = goal.check(session, session.focus)
            if result == FAILED:
                self.failed = True
            if result != REACHED:
                return
            self.last = session.focus
            if goal.defocus:
                session.focus = None
            self.at += 1

    def _tick_optional(self, session: Session) -> None:
        progress = True
        while progress:
            progress = False
            for i, goal in enumerate(self.optional):
                if self.reached[i] or (goal.after and goal.after not in self.keys):
                    continue
                focus = [session.focus] if session.focus is not None else []
                if any(goal.check(session, thing) == REACHED for thing in (None, *focus)):
                    self.reached[i] = progress = True
                    self.keys.add(goal.key)

    def listed(self) -> tuple[Subgoal, ...]:
        return (
            *(Subgoal(text=goal.text, done=i < self.at, ordered=True) for i, goal in enumerate(self.ordered)),
            *(Subgoal(text=g.text, done=done, ordered=False) for g, done in zip(self.optional, self.reached)),
        )
