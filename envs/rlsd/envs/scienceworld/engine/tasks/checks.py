"""What subgoals ask for, as functions of the episode and the focus."""

from __future__ import annotations

from itertools import islice

from rlsd.envs.scienceworld.engine.tasks.episode import FAILED, OPEN, REACHED, Check, Episode
from rlsd.envs.scienceworld.engine.world.containers import AnswerBox
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


def grows(kind: str, stage: str) -> Check:
    """The focus, the same as that of the last subgoal, is a living thing of that kind in that stage."""

    def check(episode: Episode, focus: Thing | None) -> str:
        if not isinstance(focus, LivingThing) or not same(episode, focus):
            return OPEN
        return _reached(focus.life.kind == kind and focus.cycle.stage.name == stage)

    return check


def in_stage_here(kind: str, stage: str, least: int) -> Check:
    """So many living things of that kind in that stage are in the room."""

    def check(episode: Episode, focus: Thing | None) -> str:
        things = (t for t in episode.in_sight() if isinstance(t, LivingThing))
        return _reached(sum(t.life.kind == kind and t.cycle.stage.name == stage for t in things) >= least)

    return check


def is_open(name: str) -> Check:
    """A container of that name in the room is open."""

    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(any(t.holder is not None and t.holder.is_open for t in around(episode, name)))

    return check


def in_container(name: str, but_not: str = "") -> Check:
    """The focus, the same as that of the last subgoal, lies in a container of that name, however deep.

    Fails in one named `but_not`.
    """

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None or not same(episode, focus):
            return OPEN
        names = [place.name for place in islice(focus.places(), _DEEPEST)]
        if but_not and but_not in names:
            return FAILED
        return _reached(any(place.lower() == name.lower() for place in names))

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
        return _reached(bool(around(episode, name)))

    return check


def alone_in_one(names: tuple[str, ...]) -> Check:
    """Something in the room holds things of these names and nothing else."""

    def check(episode: Episode, focus: Thing | None) -> str:
        for thing in episode.in_sight():
            held = [] if thing.is_bare() else thing.visible()
            if len(held) == len(names) and all(t.name in names or t.shown_name() in names for t in held):
                return REACHED
        return OPEN

    return check


def same(episode: Episode, focus: Thing) -> bool:
    """The focus is that of the last subgoal."""
    return episode.goals.last is None or episode.goals.last is focus


def in_state(state: str, *, or_burning: bool = False) -> Check:
    """The focus is solid, liquid or gas."""

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None or focus.material is None or not same(episode, focus):
            return OPEN
        return _reached(focus.material.state == state or (or_burning and focus.material.burning))

    return check


def any_state(episode: Episode, focus: Thing | None) -> str:
    """Always, and its state of matter is remembered."""
    if focus is None or focus.material is None or not same(episode, focus):
        return OPEN
    episode.notes["state of matter"] = focus.material.state
    return REACHED


def other_state(episode: Episode, focus: Thing | None) -> str:
    """In another state than the one that was remembered."""
    if focus is None or focus.material is None or not same(episode, focus):
        return OPEN
    return _reached(focus.material.state != episode.notes.get("state of matter", ""))


def warmer(degrees: float) -> Check:
    """Warmer than when it was first asked, or colder for a negative number."""
    note = f"temperature before {degrees}"

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None or focus.material is None:
            return OPEN
        now = focus.temperature()
        limit = episode.notes.setdefault(note, now) + degrees
        return _reached(now >= limit if degrees > 0 else now <= limit)

    return check


def around(episode: Episode, name: str) -> list[Thing]:
    """Things of that name in the room, at any depth."""
    return episode.in_sight_named(name.lower())


def switched(name: str, on: bool) -> Check:
    """A device of that name in the room is on, or off."""

    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(any(t.device is not None and t.device.activated == on for t in around(episode, name)))

    return check


def read(name: str) -> Check:
    """A document of that name has been read."""

    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(any(name in (t.name.lower(), t.shown_name().lower()) for t in episode.read))

    return check


def looked_at(name: str, note: str) -> Check:
    """A thing of that name has been looked at since this was first asked."""

    def check(episode: Episode, focus: Thing | None) -> str:
        since = episode.notes.setdefault(note, len(episode.looked_at))
        names = ((t.name.lower(), t.shown_name().lower()) for t in episode.looked_at[since:])
        return _reached(any(name in some for some in names))

    return check


def used(device: str, patient: str, note: str) -> Check:
    """A device of that name has been used since this was first asked, or any device on a thing of the other name."""

    def check(episode: Episode, focus: Thing | None) -> str:
        since = episode.notes.setdefault(note, len(episode.used))
        pairs = ((one.name.lower(), other.shown_name().lower()) for one, other in episode.used[since:])
        return _reached(any(one == device.lower() or other == patient.lower() for one, other in pairs))

    return check


def sorted_by_temperature(limit: float, warmer_box: str, colder_box: str) -> Check:
    """The focus, the same as that of the last subgoal, lies in the box for its temperature; fails in the other."""

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None or not same(episode, focus) or focus.material is None or focus.place is None:
            return OPEN
        box, now = focus.place.name, focus.temperature()
        if box not in (warmer_box, colder_box):
            return OPEN
        fits = (box == warmer_box and now >= limit) or (box == colder_box and now <= limit)
        return REACHED if fits else FAILED

    return check


def answer_box(name: str) -> Check:
    """Focus on an answer box of that name; fails on another answer box."""

    def check(episode: Episode, focus: Thing | None) -> str:
        if not isinstance(focus, AnswerBox):
            return OPEN
        return REACHED if focus.name.lower() == name.lower() else FAILED

    return check


def holds(container: str, name: str) -> Check:
    """A container in the room holds a thing of that name, directly."""

    def check(episode: Episode, focus: Thing | None) -> str:
        held = (thing for holder in around(episode, container) for thing in holder.visible())
        return _reached(any(name in (thing.name, thing.shown_name()) for thing in held))

    return check


def on_fire(name: str) -> Check:
    def check(episode: Episode, focus: Thing | None) -> str:
        return _reached(any(t.material is not None and t.material.burning for t in around(episode, name)))

    return check


def open_door(episode: Episode, focus: Thing | None) -> str:
    return _reached(any(isinstance(portal, Door) and portal.is_open for portal in episode.place.portals.items()))
