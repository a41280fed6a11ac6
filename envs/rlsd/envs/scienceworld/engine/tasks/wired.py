"""What subgoals ask of circuits."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.scienceworld.engine.tasks.checks import around, same
from rlsd.envs.scienceworld.engine.tasks.episode import FAILED, OPEN, REACHED, Check, Episode
from rlsd.envs.scienceworld.engine.world.electric import Component, LightBulb, Wire
from rlsd.envs.scienceworld.engine.world.thing import Terminal, Thing

_FARTHEST = 10
"""Parts of a circuit that are followed from one thing to another."""


def _ends(thing: Thing) -> tuple[Terminal, ...]:
    if isinstance(thing, Component):
        return thing.anode, thing.cathode
    return thing.terminals or ()


def _is_named(thing: Thing, name: str) -> bool:
    return name.lower() in (thing.name.lower(), thing.shown_name().lower())


def running(name: str) -> Check:
    """The focus is a device of that name and it is on."""

    def check(episode: Episode, focus: Thing | None) -> str:
        on = focus is not None and focus.name == name and focus.device is not None and focus.device.activated
        return REACHED if on else OPEN

    return check


def on_wire(name: str, end: int) -> Check:
    """A thing of that name in the room has a wire at its anode or terminal 1 (`end` 0), or at the other (1)."""

    def check(episode: Episode, focus: Thing | None) -> str:
        points = [point for thing in around(episode, name) for point in _ends(thing)[end : end + 1]]
        wired = any(isinstance(other.owner, Wire) for point in points for other in point.wired.items())
        return REACHED if wired else OPEN

    return check


def _between(one: Callable[[Thing], bool], other: Callable[[Thing], bool]) -> Check:
    """A wire in the room is connected to something of one kind, and to something of the other."""

    def check(episode: Episode, focus: Thing | None) -> str:
        for wire in episode.in_sight():
            if isinstance(wire, Wire):
                owners = [far.owner for point in _ends(wire) for far in point.wired.items()]
                if any(map(one, owners)) and any(map(other, owners)):
                    return REACHED
        return OPEN

    return check


def to_source(name: str, source: str = "") -> Check:
    """A wire connects a thing of that name to a source of electricity; `source`: to that one."""
    return _between(
        lambda thing: _is_named(thing, name),
        lambda thing: thing.generates and (not source or _is_named(thing, source)),
    )


def to_light(name: str) -> Check:
    """A wire connects a thing of that name to a light bulb."""
    return _between(lambda thing: _is_named(thing, name), lambda thing: isinstance(thing, LightBulb))


def light_to_source() -> Check:
    return _between(lambda thing: thing.generates, lambda thing: isinstance(thing, LightBulb))


def powered_by(source: str) -> Check:
    """A path leads from the focus, the same as that of the last subgoal, to a thing of that name; fails otherwise."""

    def check(episode: Episode, focus: Thing | None) -> str:
        if focus is None or not same(episode, focus):
            return OPEN
        ends = _ends(focus)
        return REACHED if ends and _leads(focus, ends[0], source, _FARTHEST) else FAILED

    return check


def _leads(thing: Thing, entered: Terminal, name: str, farthest: int) -> bool:
    """Whether the way through `thing` from one terminal and out of the other reaches a thing of that name."""
    beyond = thing.other_terminal(entered) if farthest > 0 else None
    if beyond is None:
        return False
    reached = beyond.wired.items()
    if any(point.owner.name == name for point in reached):
        return True
    return any(_leads(point.owner, point, name, farthest - 1) for point in reached)
