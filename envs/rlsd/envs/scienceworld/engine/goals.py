"""Subgoals of a task and its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from rlsd.envs.scienceworld.engine.living import Animal, LivingThing
from rlsd.envs.scienceworld.engine.places import Door
from rlsd.envs.scienceworld.engine.plants import Plant
from rlsd.envs.scienceworld.engine.thing import Thing
from rlsd.envs.scienceworld.shown import Subgoal

if TYPE_CHECKING:
    from rlsd.envs.scienceworld.engine.session import Session

_DEEPEST = 20
OPEN, REACHED, FAILED = "open", "reached", "failed"
Check = Callable[["Session", "Thing | None"], str]
"""Session and the focus, or None → OPEN, REACHED or FAILED."""


@dataclass(slots=True)
class Goal:
    text: str
    check: Check
    defocus: bool = False
    """Reaching it ends the focus."""


@dataclass(slots=True)
class Goals:
    """Subgoals in order, each worth the same, and optional ones that together are worth less than one of these."""

    ordered: list[Goal]
    optional: list[Goal]
    at: int = 0
    """How many of the ordered ones are reached."""
    failed: bool = False
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
                if self.reached[i]:
                    continue
                focus = [session.focus] if session.focus is not None else []
                if any(goal.check(session, thing) == REACHED for thing in (None, *focus)):
                    self.reached[i] = progress = True

    def listed(self) -> tuple[Subgoal, ...]:
        return (
            *(Subgoal(text=goal.text, done=i < self.at, ordered=True) for i, goal in enumerate(self.ordered)),
            *(Subgoal(text=g.text, done=done, ordered=False) for g, done in zip(self.optional, self.reached)),
        )


def _reached(condition: bool) -> str:
    return REACHED if condition else OPEN


def focus_on(kind: type) -> Check:
    """Fails on anything else."""

    def check(session: Session, focus: Thing | None) -> str:
        return OPEN if focus is None else REACHED if isinstance(focus, kind) else FAILED

    return check


LIVING, ANIMAL, PLANT = focus_on(LivingThing), focus_on(Animal), focus_on(Plant)


def not_living(session: Session, focus: Thing | None) -> str:
    """Something that can be moved; fails on what lives."""
    if focus is None:
        return OPEN
    return FAILED if isinstance(focus, LivingThing) else _reached(focus.movable)


def named(name: str) -> Check:
    """Focus on a thing of that name; fails on another."""

    def check(session: Session, focus: Thing | None) -> str:
        return OPEN if focus is None else REACHED if focus.name.lower() == name.lower() else FAILED

    return check


def in_stage(kind: str, stage: str) -> Check:
    """Focus on a living thing of that kind in that stage; fails on anything else."""

    def check(session: Session, focus: Thing | None) -> str:
        if focus is None:
            return OPEN
        fits = isinstance(focus, LivingThing) and focus.life.kind == kind.lower() and focus.cycle.stage.name == stage
        return REACHED if fits else FAILED

    return check


def in_container(name: str) -> Check:
    """The focus, the same as that of the last subgoal, lies in a container of that name, however deep."""

    def check(session: Session, focus: Thing | None) -> str:
        last = session.goals.last
        if focus is None or (last is not None and last is not focus):
            return OPEN
        around = islice(focus.places(), _DEEPEST)
        return _reached(any(place.name.lower() == name.lower() for place in around))

    return check


def at_location(name: str) -> Check:
    def check(session: Session, focus: Thing | None) -> str:
        return _reached(session.place.name == name)

    return check


def moved_on(unless_in: str = "") -> Check:
    """In another room than when it was first asked."""

    def check(session: Session, focus: Thing | None) -> str:
        here = session.place.name
        if here == unless_in:
            return REACHED
        return _reached(here != session.notes.setdefault("first room", here))

    return check


def stayed(name: str, steps: int) -> Check:
    """In a room for so many checks in a row."""
    note = f"stayed for {steps}"

    def check(session: Session, focus: Thing | None) -> str:
        inside = session.place.name == name
        session.notes[note] = session.notes.get(note, 0) + 1 if inside else 0
        return _reached(inside and session.notes[note] >= steps)

    return check


def open_door(session: Session, focus: Thing | None) -> str:
    return _reached(any(isinstance(portal, Door) and portal.is_open for portal in session.place.portals.items()))
