"""Getting water into a vessel."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.containers import FlowerPot, Vessel
from rlsd.envs.scienceworld.engine.world.devices import Plumbing
from rlsd.envs.scienceworld.engine.world.thing import Thing
from rlsd.envs.scienceworld.planning.ways import Step, held, nearest, reach, say, take


def vessels(world: Session) -> list[Vessel]:
    """What can be carried and holds things, flower pots apart."""
    things = world.things()
    return [t for t in things if isinstance(t, Vessel) and t.movable and not isinstance(t, FlowerPot)]


def empty_vessel(world: Session) -> Thing | None:
    return nearest(world, (vessel for vessel in vessels(world) if not vessel.visible() and vessel.name != "book shelf"))


def fill(world: Session, vessel: Thing | None) -> Step | None:
    """The next action towards water in a vessel: it is put into a sink that is on."""
    sinks = [t for t in world.things() if isinstance(t, Plumbing) and t.name in ("sink", "bathtub")]
    works = [t for t in sinks if t.device is not None and (t.device.activated or not t.device.broken)]
    sink = nearest(world, works)
    if vessel is None or sink is None or vessel.holder is None:
        return None
    if not held(world, vessel) and vessel.place is not sink:
        return take(world, vessel)
    step = reach(world, sink)
    if step is not None:
        return step
    if not vessel.holder.is_open:
        return say(world, "open", vessel)
    if vessel.place is not sink:
        return say(world, "move", vessel, "to", sink)
    assert sink.device is not None
    return ("wait1",) if sink.device.activated else say(world, "activate", sink)
