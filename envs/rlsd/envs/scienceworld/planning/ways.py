"""Where things are, how to get at them, and how to say so that nothing else is meant."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from rlsd.envs.scienceworld.engine.actions.referents import all_names
from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.places import Door
from rlsd.envs.scienceworld.engine.world.thing import Thing

Step = tuple[str, ...]
"""Inputs that belong together: an action, and where it can mean several things, the number of what is meant."""
FARTHEST = 80
_TRIED = 80
"""Names that are tried for a thing, the shortest first."""
_DISTINCT = 3
"""Names of its own that are tried in sentences with two things."""


def room_of(world: Session, thing: Thing) -> Thing | None:
    """The room in which a thing can be reached; None in a closed container, or nowhere."""
    for place in thing.places():
        if place.is_location:
            return place
        if place is world.agent.inventory:
            return world.place
        if place.holder is None or not place.holder.is_open:
            return None
    return None


def held(world: Session, thing: Thing) -> bool:
    return thing.place is world.agent.inventory


def far(world: Session, thing: Thing) -> int:
    """Doors on the way to a thing, in a closed container or not."""
    route = _route(world, _location(world, thing))
    return FARTHEST if route is None else len(route)


def nearest(world: Session, things: Iterable[Thing]) -> Thing | None:
    """What is held comes first, then what is near; equals in the order they were made."""
    return min(things, key=lambda thing: (not held(world, thing), far(world, thing), thing.number), default=None)


def named(world: Session, name: str) -> list[Thing]:
    return [thing for thing in world.things() if thing.name.lower() == name.lower() and not thing.hidden]


def go(world: Session, room: Thing | None) -> Step | None:
    """The next action on the way to a room; None when the agent is there."""
    route = _route(world, room)
    if not route:
        return None
    door, beyond = route[0]
    return (f"go to {beyond.name}" if door.is_open else f"open door to {beyond.name}",)


def reach(world: Session, thing: Thing) -> Step | None:
    """The next action towards having a thing at hand: doors, then what it is shut in; None when it is at hand."""
    where = _location(world, thing)
    if where is None:
        return None
    step = go(world, where)
    if step is not None:
        return step
    around = []
    for place in thing.places():
        if place is where or place is world.agent.inventory:
            break
        around.append(place)
    shut = next((place for place in reversed(around) if place.holder is not None and not place.holder.is_open), None)
    return None if shut is None else say(world, "open", shut)


def take(world: Session, thing: Thing) -> Step | None:
    """The next action towards holding it; None when it is held."""
    if held(world, thing):
        return None
    return reach(world, thing) or say(world, "pick up", thing)


def focus(world: Session, thing: Thing) -> Step | None:
    return reach(world, thing) or say(world, "focus on", thing)


def say(world: Session, verb: str, thing: Thing, word: str = "", other: Thing | None = None) -> Step | None:
    """The shortest input that means exactly this; where there is none, the number of what is meant comes after it."""
    wanted = (thing,) if other is None else (thing, other)
    ends = [""] if other is None else [f" {word} {name}" for name in _best_names(world, other)]
    fallback: Step | None = None
    for name in _best_names(world, thing):
        for end in ends:
            found = [meaning.things for meaning in world.understand(f"{verb} {name}{end}")]
            if found == [wanted]:
                return (f"{verb} {name}{end}",)
            if fallback is None and wanted in found:
                fallback = (f"{verb} {name}{end}", str(found.index(wanted)))
    return fallback


def _best_names(world: Session, thing: Thing) -> list[str]:
    """Names that only this thing has, else all of them; the shortest first."""
    names = sorted(all_names(thing, world.place), key=lambda name: (len(name), name))[:_TRIED]
    own = []
    for name in names:
        found = world.understand(f"focus on {name}")
        if len(found) == 1 and found[0].things == (thing,):
            own.append(name)
            if len(own) == _DISTINCT:
                break
    return own or names[-1:] + names[:-1]


def _location(world: Session, thing: Thing) -> Thing | None:
    """The room around a thing, through closed containers, too."""
    for place in thing.places():
        if place is world.agent:
            return world.place
        if place.is_location:
            return place
    return None


def _route(world: Session, room: Thing | None) -> list[tuple[Door, Thing]] | None:
    """Doors and rooms on the shortest way; None where none leads."""
    paths: dict[Thing, list[tuple[Door, Thing]]] = {world.place: []}
    queue = deque([world.place])
    while queue:
        here = queue.popleft()
        if here is room:
            return paths[here]
        for door in here.portals.items():
            beyond = door.leads_to(here)
            if isinstance(door, Door) and beyond is not None and beyond not in paths:
                paths[beyond] = [*paths[here], (door, beyond)]
                queue.append(beyond)
    return None
