"""Opening, closing, going: when it is refused, and what it does."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.tasks.episode import Episode
from rlsd.envs.scienceworld.engine.world.places import Door, Drain, Location, Portal
from rlsd.envs.scienceworld.engine.world.thing import Thing


def refuse_open(episode: Episode, door: Thing) -> str | None:
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


def open_it(episode: Episode, door: Thing) -> str:
    if (refusal := refuse_open(episode, door)) is not None:
        return refusal
    if isinstance(door, Portal):
        door.is_open = True
        _stir(door)
    elif door.holder is not None:
        door.holder.is_open = True
        door.changed()
    return f"The {door.name} is now open."


def _stir(portal: Portal) -> None:
    """What runs through a portal may run now."""
    if isinstance(portal, Drain):
        portal.one.stir()


def refuse_close(episode: Episode, door: Thing) -> str | None:
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


def close_it(episode: Episode, door: Thing) -> str:
    if (refusal := refuse_close(episode, door)) is not None:
        return refusal
    if isinstance(door, Portal):
        door.is_open = False
        _stir(door)
    elif door.holder is not None:
        door.holder.is_open = False
        door.changed()
    return f"The {door.name} is now closed."


def refuse_go(episode: Episode, goal: Thing) -> str | None:
    place = episode.place
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


def go(episode: Episode, goal: Thing) -> str:
    if (refusal := refuse_go(episode, goal)) is not None:
        return refusal
    if isinstance(goal, Door):
        beyond = goal.leads_to(episode.place)
        assert beyond is not None
        episode.agent.roam(beyond)
        return f"You move through the {goal.name} to the {beyond.name}."
    episode.agent.roam(goal)
    return f"You move to the {goal.name}."


def refuse_teleport(episode: Episode, goal: Thing) -> str | None:
    if isinstance(goal, Location) and goal.name != "universe":
        return None
    return f"Its not clear how to go to {goal.name}."


def teleport(episode: Episode, goal: Thing) -> str:
    if (refusal := refuse_teleport(episode, goal)) is not None:
        return refusal
    episode.agent.roam(goal)
    return f"You teleport to the {goal.name}."
