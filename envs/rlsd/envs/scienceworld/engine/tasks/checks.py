"""What subgoals ask for, as functions of the episode and the focus."""

from __future__ import annotations

from itertools import islice

from rlsd.envs.scienceworld.engine.tasks.episode import FAILED, OPEN, REACHED, Check, Episode
from rlsd.envs.scienceworld.engine.world.living import Animal, LivingThing
from rlsd.envs.scienceworld.engine.world.places import Door
from rlsd.envs.scienceworld.engine.world.plants import Plant
from rlsd.envs.scienceworld.engine.world.thing import Thing

_DEEPEST = 20


def _reached(condition: bool) -> str:
    return REACHED if condition else OPEN


def focus_on(kind: type) -> Check:
    """Fails on anything else."""

    def check(episode: Episode, focus: Thing | None) -> str:
        return OPEN if focus is None else REACHED if isinstance(focus, kind) else FAILED

    return check


LIVING, ANIMAL, PLANT = focus_on(LivingThing), focus_on(Animal), focus_on(Plant)


def not_living(episode: Episode, focus: Thing | None) -> str:
    """Something that can be moved; fails on what lives."""
    if focus is None:
        return OPEN
    return FAILED if isinstance(focus, LivingThing) else _reached(focus.movable)


def named(name: str) -> Check:
    """Focus on a thing of that name; fails on another."""

    def check(episode: Episode, focus: Thing | None) -> str:
        return OPEN if focus is None else REACHED if focus.name.lower() == name.lower() else FAILED

    return check


def in_stage(kind: str, stage: str) -> Check:
    """Focus on a living thing of that kind in that stage; fails on anything else."""

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None:
            return OPEN
        fits = isinstance(focus, LivingThing) and focus.life.kind == kind.lower() and focus.cycle.stage.name == stage
        return REACHED if fits else FAILED

    return check


def in_container(name: str) -> Check:
    """The focus, the same as that of the last subgoal, lies in a container of that name, however deep."""

    def check(episode: Episode, focus: Thing | None) -> str:
        last = episode.goals.last
        if focus is None or (last is not None and last is not focus):
            return OPEN
        around = islice(focus.places(), _DEEPEST)
        return _reached(any(place.name.lower() == name.lower() for place in around))

    return check


def at_location(name: str) -> Check:
    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(episode.place.name == name)

    return check


def moved_on(unless_in: str = "") -> Check:
    """In another room than when it was first asked."""

    def check(episode: Episode, focus: Thing | None) -> str:
        here = episode.place.name
        if here == unless_in:
            return REACHED
        return _reached(here != episode.notes.setdefault("first room", here))

    return check


def stayed(name: str, steps: int) -> Check:
    """In a room for so many checks in a row."""
    note = f"stayed for {steps}"

    def check(episode: Episode, focus: Thing | None) -> str:
        inside = episode.place.name == name
        episode.notes[note] = episode.notes.get(note, 0) + 1 if inside else 0
        return _reached(inside and episode.notes[note] >= steps)

    return check


def in_room_with(name: str) -> Check:
    """A thing of that name is in the room, at any depth."""

    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(bool(_around(episode, name)))

    return check


def alone_in_one(names: tuple[str, ...]) -> Check:
    """Something in the room holds things of these names and nothing else."""

    def check(episode: Episode, focus: Thing | None) -> str:
        for thing in episode.place.deep_visible_and_portals():
            held = thing.visible()
            if len(held) == len(names) and all(t.name in names or t.shown_name() in names for t in held):
                return REACHED
        return OPEN

    return check


def _same(episode: Episode, focus: Thing) -> bool:
    """The focus is that of the last subgoal."""
    return episode.goals.last is None or episode.goals.last is focus


def in_state(state: str, *, or_burning: bool = False) -> Check:
    """The focus is solid, liquid or gas."""

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None or focus.material is None or not _same(episode, focus):
            return OPEN
        return _reached(focus.material.state == state or (or_burning and focus.material.burning))

    return check


def any_state(episode: Episode, focus: Thing | None) -> str:
    """Always, and its state of matter is remembered."""
    if focus is None or focus.material is None or not _same(episode, focus):
        return OPEN
    episode.notes["state of matter"] = focus.material.state
    return REACHED


def other_state(episode: Episode, focus: Thing | None) -> str:
    """In another state than the one that was remembered."""
    if focus is None or focus.material is None or not _same(episode, focus):
        return OPEN
    return _reached(focus.material.state != episode.notes.get("state of matter", ""))


def warmer(degrees: float) -> Check:
    """Warmer than when it was first asked, or colder for a negative number."""
    note = f"temperature before {degrees}"

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None or focus.material is None:
            return OPEN
        now = focus.material.temperature
        limit = episode.notes.setdefault(note, now) + degrees
        return _reached(now >= limit if degrees > 0 else now <= limit)

    return check


def _around(episode: Episode, name: str) -> list[Thing]:
    """Things of that name in the room, at any depth."""
    around = episode.place.deep_visible_and_portals()
    return [thing for thing in around if name in (thing.name.lower(), thing.shown_name().lower())]


def switched(name: str, on: bool) -> Check:
    """A device of that name in the room is on, or off."""

    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(any(t.device is not None and t.device.activated == on for t in _around(episode, name)))

    return check


def looked_at(name: str, note: str) -> Check:
    """A thing of that name has been looked at since this was first asked."""

    def check(episode: Episode, focus: Thing | None) -> str:
        since = episode.notes.setdefault(note, len(episode.looked_at))
        names = ((t.name.lower(), t.shown_name().lower()) for t in episode.looked_at[since:])
        return _reached(any(name in some for some in names))

    return check


def holds(container: str, name: str) -> Check:
    """A container in the room holds a thing of that name, directly."""

    def check(episode: Episode, focus: Thing | None) -> str:
        held = (thing for holder in _around(episode, container) for thing in holder.visible())
        return _reached(any(name in (thing.name, thing.shown_name()) for thing in held))

    return check


def on_fire(name: str) -> Check:
    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(any(t.material is not None and t.material.burning for t in _around(episode, name)))

    return check


def open_door(episode: Episode, focus: Thing | None) -> str:
    return _reached(any(isinstance(portal, Door) and portal.is_open for portal in episode.place.portals.items()))
