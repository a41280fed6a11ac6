"""Connecting things electrically."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.tasks.episode import Episode
from rlsd.envs.scienceworld.engine.world.electric import Component, Wire
from rlsd.envs.scienceworld.engine.world.thing import Terminal, Thing

_TAKEN = "is already connected, and must be disconnected before it can be connected to something else"


def contact(thing: Thing) -> Terminal | str:
    """The terminal that a connection to `thing` uses, else why there is none."""
    if isinstance(thing, Terminal):
        return thing
    if isinstance(thing, Component):
        kind, points = "polarized", "anode, cathode"
    elif isinstance(thing, Wire):
        kind, points = "unpolarized", "terminal 1, terminal 2"
    elif thing.terminals is None:
        return f"It's not clear how to connect something to {thing.name}"
    else:
        free = next((terminal for terminal in thing.terminals if not len(terminal.wired)), None)
        return free or f"{thing.name} {_TAKEN}"
    return f"Connections must specify specific points of contact on {kind} electrical components (e.g. {points})"


def connect(episode: Episode, one: Thing, other: Thing) -> str:
    first, second = contact(one), contact(other)
    for found in (first, second):
        if isinstance(found, str):
            return found
    assert isinstance(first, Terminal)
    assert isinstance(second, Terminal)
    if first is second:
        return "Something can't be connected to itself."
    for terminal in (first, second):
        if len(terminal.wired):
            return f"{terminal.name} on {terminal.owner.name} {_TAKEN}"
    first.wire(second)
    second.wire(first)
    return f"{first.name} on {first.owner.name} is now connected to {second.name} on {second.owner.name}"


def disconnect(episode: Episode, thing: Thing) -> str:
    if isinstance(thing, Terminal):
        owner = thing.owner.name
        return f"You must disconnect entire objects (such as {owner}) instead of just single terminals"
    thing.disconnect()
    return f"{thing.name} has been disconnected"
