"""Opening, closing, going: when it is refused, and what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlsd.envs.scienceworld.engine.places import Door, Location, Portal
from rlsd.envs.scienceworld.engine.thing import Thing

if TYPE_CHECKING:
    from rlsd.envs.scienceworld.engine.session import Session


def refuse_open(session: Session, door: Thing) -> str | None:
    if isinstance(door, Portal) and door.is_open:
        return f"The {door.name} is already open."
    if door.holder is not None:
        if not door.holder.closable:
            return f"The {door.name} is not openable."
        if door.holder.is_open:
            return f"The {door.name} is already open."
    if not isinstance(door, Portal) and door.holder is None:
        return f"The {door.name} is not openable."
    return None


def open_it(session: Session, door: Thing) -> str:
    if (refusal := refuse_open(session, door)) is not None:
        return refusal
    if isinstance(door, Portal):
        door.is_open = True
    elif door.holder is not None:
        door.holder.is_open = True
        door.changed()
    return f"The {door.name} is now open."


def refuse_close(session: Session, door: Thing) -> str | None:
    if isinstance(door, Portal) and not door.is_open:
        return f"The {door.name} is already closed."
    if door.holder is not None:
        if not door.holder.closable:
            return f"The {door.name} is not closeable."
        if not door.holder.is_open:
            return f"The {door.name} is already closed."
    if not isinstance(door, Portal) and door.holder is None:
        return f"The {door.name} is not closeable."
    return None


def close_it(session: Session, door: Thing) -> str:
    if (refusal := refuse_close(session, door)) is not None:
        return refusal
    if isinstance(door, Portal):
        door.is_open = False
    elif door.holder is not None:
        door.holder.is_open = False
        door.changed()
    return f"The {door.name} is now closed."


def refuse_go(session: Session, goal: Thing) -> str | None:
    place = session.place
    if isinstance(goal, Door):
        if not goal.is_open:
            return goal.refusal()
        return None if goal.leads_to(place) is not None else "The door doesn't appear to go anywhere."
    if isinstance(goal, Location):
        for portal in place.portals.items():
            beyond = portal.leads_to(place)
            if beyond is not None and goal.name in beyond.referents():
                return None if portal.is_open else portal.refusal()
        return "It's not clear how to get there from here."
    return f"Its not clear how to go to/through a {goal.name}."


def go(session: Session, goal: Thing) -> str:
    if (refusal := refuse_go(session, goal)) is not None:
        return refusal
    if isinstance(goal, Door):
        beyond = goal.leads_to(session.place)
        assert beyond is not None
        beyond.put(session.agent)
        return f"You move through the {goal.name} to the {beyond.name}."
    goal.put(session.agent)
    return f"You move to the {goal.name}."


def refuse_teleport(session: Session, goal: Thing) -> str | None:
    if isinstance(goal, Location) and goal.name != "universe":
        return None
    return f"Its not clear how to go to {goal.name}."


def teleport(session: Session, goal: Thing) -> str:
    if (refusal := refuse_teleport(session, goal)) is not None:
        return refusal
    goal.put(session.agent)
    return f"You teleport to the {goal.name}."
