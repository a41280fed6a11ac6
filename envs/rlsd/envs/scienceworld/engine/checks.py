"""What subgoals ask for, as functions of the episode and the focus."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from rlsd.envs.scienceworld.engine.goals import FAILED, OPEN, REACHED, Check
from rlsd.envs.scienceworld.engine.living import Animal, LivingThing
from rlsd.envs.scienceworld.engine.places import Door
from rlsd.envs.scienceworld.engine.plants import Plant
from rlsd.envs.scienceworld.engine.thing import Thing

if TYPE_CHECKING:
    from rlsd.envs.scienceworld.engine.session import Session

_DEEPEST = 20


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


def switched(name: str, on: bool) -> Check:
    """A device of that name in the room is on, or off."""

    def check(session: Session, focus: Thing | None) -> str:
        return _reached(any(t.device is not None and t.device.activated == on for t in _around(session, name)))

    return check


def looked_at(name: str, note: str) -> Check:
    """A thing of that name has been looked at since this was first asked."""

    def check(session: Session, focus: Thing | None) -> str:
        since = session.notes.setdefault(note, len(session.looked_at))
        names = ((t.name.lower(), t.shown_name().lower()) for t in session.looked_at[since:])
        return _reached(any(name in some for some in names))

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
