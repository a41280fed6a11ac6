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


def in_room_with(name: str) -> Check:
    """A thing of that name is in the room, at any depth."""

    def check(session: Session, focus: Thing | None) -> str:
        return _reached(bool(_around(session, name)))

    return check


def alone_in_one(names: tuple[str, ...]) -> Check:
    """Something in the room holds things of these names and nothing else."""

    def check(session: Session, focus: Thing | None) -> str:
        for thing in session.place.deep_visible_and_portals():
            held = thing.visible()
            if len(held) == len(names) and all(t.name in names or t.shown_name() in names for t in held):
                return REACHED
        return OPEN

    return check


def _same(session: Session, focus: Thing) -> bool:
    """The focus is that of the last subgoal."""
    return session.goals.last is None or session.goals.last is focus


def in_state(state: str, *, or_burning: bool = False) -> Check:
    """The focus is solid, liquid or gas."""

    def check(session: Session, focus: Thing | None) -> str:
        if focus is None or focus.material is None or not _same(session, focus):
            return OPEN
        return _reached(focus.material.state == state or (or_burning and focus.material.burning))

    return check


def any_state(session: Session, focus: Thing | None) -> str:
    """Always, and its state of matter is remembered."""
    if focus is None or focus.material is None or not _same(session, focus):
        return OPEN
    session.notes["state of matter"] = focus.material.state
    return REACHED


def other_state(session: Session, focus: Thing | None) -> str:
    """In another state than the one that was remembered."""
    if focus is None or focus.material is None or not _same(session, focus):
        return OPEN
    return _reached(focus.material.state != session.notes.get("state of matter", ""))


def warmer(degrees: float) -> Check:
    """Warmer than when it was first asked, or colder for a negative number."""
    note = f"temperature before {degrees}"

    def check(session: Session, focus: Thing | None) -> str:
        if focus is None or focus.material is None:
            return OPEN
        now = focus.material.temperature
        limit = session.notes.setdefault(note, now) + degrees
        return _reached(now >= limit if degrees > 0 else now <= limit)

    return check


def _around(session: Session, name: str) -> list[Thing]:
    """Things of that name in the room, at any depth."""
    around = session.place.deep_visible_and_portals()
    return [thing for thing in around if name in (thing.name.lower(), thing.shown_name().lower())]


def switched_on(name: str) -> Check:
    def check(session: Session, focus: Thing | None) -> str:
        return _reached(any(t.device is not None and t.device.activated for t in _around(session, name)))

    return check


def holds(container: str, name: str) -> Check:
    """A container in the room holds a thing of that name, directly."""

    def check(session: Session, focus: Thing | None) -> str:
        held = (thing for holder in _around(session, container) for thing in holder.visible())
        return _reached(any(name in (thing.name, thing.shown_name()) for thing in held))

    return check


def on_fire(name: str) -> Check:
    def check(session: Session, focus: Thing | None) -> str:
        return _reached(any(t.material is not None and t.material.burning for t in _around(session, name)))

    return check


def open_door(session: Session, focus: Thing | None) -> str:
    return _reached(any(isinstance(portal, Door) and portal.is_open for portal in session.place.portals.items()))
