"""Wiring a component to a source of electricity."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.electric import Battery, Component, FuelGenerator, OutdoorGenerator, Wire
from rlsd.envs.scienceworld.engine.world.places import Outside
from rlsd.envs.scienceworld.engine.world.thing import Thing
from rlsd.envs.scienceworld.planning.focusing import asked
from rlsd.envs.scienceworld.planning.ways import Step, go, held, named, nearest, room_of, say, take


def power(world: Session) -> Step | None:
    """Towards a circuit of the component, the source, and two wires."""
    goals = world.goals.ordered
    if world.goals.at == 0:
        return asked(world)
    part, source = world.goals.last, _source(world, goals[-1].asks)
    if not isinstance(part, Component) or source is None or not world.electrical:
        return None
    if world.focus is not part:
        return say(world, "focus on", part)
    wires = [thing for thing in world.things() if isinstance(thing, Wire)]
    wires.sort(key=lambda wire: wire.number)
    if len(wires) < 2:
        return None
    outside = isinstance(source, OutdoorGenerator)
    step = _together(world, [part, source, *wires[:2]], outside)
    return step or _wired(world, part, source, wires[0], wires[1]) or _switch_on(world, source)


def _source(world: Session, name: str) -> Component | None:
    """The one that is asked for; else a battery."""
    if len(world.goals.ordered) < 3:
        things = [thing for thing in world.things() if isinstance(thing, Battery)]
    else:
        things = named(world, name)
    source = nearest(world, things)
    return source if isinstance(source, Component) else None


def _together(world: Session, things: Sequence[Thing], outside: bool) -> Step | None:
    """Bring all of them into one room, or outside."""
    if outside:
        target = next(place for place in world.universe.inside.items() if isinstance(place, Outside))
    else:
        target = room_of(world, things[1]) or world.place
    away = [thing for thing in things if not held(world, thing) and room_of(world, thing) is not target]
    if away:
        thing = nearest(world, away)
        assert thing is not None
        return take(world, thing)
    in_hand = [thing for thing in things if held(world, thing)]
    step = go(world, target)
    if step is not None:
        return step
    return say(world, "put down", in_hand[0]) if in_hand else None


def _wired(world: Session, part: Component, source: Component, one: Wire, other: Wire) -> Step | None:
    """The next connection; what is connected otherwise is disconnected first."""
    assert one.terminals is not None
    assert other.terminals is not None
    pairs = (
        (source.anode, one.terminals[0]),
        (source.cathode, other.terminals[0]),
        (one.terminals[1], part.cathode),
        (other.terminals[1], part.anode),
    )
    right = {point: mate for a, b in pairs for point, mate in ((a, b), (b, a))}
    for point, mate in right.items():
        if len(point.wired) and mate not in point.wired:
            return say(world, "disconnect", point.owner)
    for a, b in pairs:
        if b not in a.wired:
            return say(world, "connect", a, "to", b)
    return None


def _switch_on(world: Session, source: Component) -> Step | None:
    assert source.device is not None
    if isinstance(source, FuelGenerator) and not source.device.activated:
        return say(world, "activate", source)
    return ("wait1",)
