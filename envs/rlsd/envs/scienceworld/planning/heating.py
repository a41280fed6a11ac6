"""Bringing a substance into another state of matter, in a vessel, in a heater or a cooler."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.containers import Vessel
from rlsd.envs.scienceworld.engine.world.devices import Cooler, Heater
from rlsd.envs.scienceworld.engine.world.materials import GAS, LIQUID, SOLID, Material
from rlsd.envs.scienceworld.engine.world.thing import Thing
from rlsd.envs.scienceworld.planning.focusing import asked, present
from rlsd.envs.scienceworld.planning.water import vessels
from rlsd.envs.scienceworld.planning.ways import Step, focus, held, nearest, reach, room_of, say, take

_MARGIN = 5.0
"""Degrees by which a heater or a cooler goes beyond what is needed."""
_NEAR = 40.0
"""Degrees from the goal within which waits are short."""
_PROOF = ("metal pot", "ceramic cup", "glass cup", "tin cup")
"""Vessels that stand heat."""


def change_state(world: Session) -> Step | None:
    """Towards the state of matter that the present subgoal asks for."""
    if world.goals.at == 0:
        return asked(world) or (("wait1",) if world.state.now == 0 else None)  # before the first tick, ice is "water"
    target = world.goals.last
    if target is None or target.material is None or target.deleted:
        return None
    if world.focus is not target:
        return focus(world, target)
    wanted = present(world).asks or _other(world, target.material)
    stuff = target.material
    if wanted == SOLID or (wanted == LIQUID and stuff.state == GAS):
        return _cool(world, target, stuff.melting_point if wanted == SOLID else stuff.boiling_point)
    need = stuff.melting_point if wanted == LIQUID else min(stuff.boiling_point, stuff.combustion_point)
    return _heat(world, target, need)


def _other(world: Session, stuff: Material) -> str:
    """The state that is reached the soonest."""
    if stuff.state == SOLID:
        return LIQUID
    can_freeze = any(device.coldest + _MARGIN < stuff.melting_point for device in _coolers(world))
    return SOLID if can_freeze else GAS


def _coolers(world: Session) -> list[Cooler]:
    return [thing for thing in world.things() if isinstance(thing, Cooler) and _works(thing)]


def _works(device: Thing) -> bool:
    return device.device is not None and (device.device.activated or not device.device.broken)


def _heat(world: Session, target: Thing, need: float) -> Step | None:
    heaters = [t for t in world.things() if isinstance(t, Heater) and _works(t) and t.hottest > need + _MARGIN]
    return _expose(world, target, nearest(world, heaters), need)


def _cool(world: Session, target: Thing, need: float) -> Step | None:
    coolers = [cooler for cooler in _coolers(world) if cooler.coldest + _MARGIN < need]
    return _expose(world, target, nearest(world, coolers), need)


def _expose(world: Session, target: Thing, device: Thing | None, need: float) -> Step | None:
    """Put the target, in a vessel, into or on a device that is on, and wait."""
    if device is None or device.device is None or target.material is None:
        return None
    load = target.place
    if not (isinstance(load, Vessel) and load.movable):
        return _into_vessel(world, target)
    if load.place is not device:
        if not held(world, load) and room_of(world, load) is not room_of(world, device):
            return take(world, load)
        return _open(world, device) or say(world, "move", load, "to", device)
    if not device.device.activated:
        return reach(world, device) or say(world, "activate", device)
    distance = abs(target.temperature() - need)
    return ("wait",) if distance > _NEAR else ("wait1",)


def _open(world: Session, device: Thing) -> Step | None:
    step = reach(world, device)
    if step is not None:
        return step
    shut = device.holder is not None and not device.holder.is_open
    return say(world, "open", device) if shut else None


def _into_vessel(world: Session, target: Thing) -> Step | None:
    """Move a solid that lies about into a vessel."""
    stuff = target.material
    if stuff is None or stuff.state != SOLID or not target.movable:
        return None
    free = [vessel for vessel in vessels(world) if not vessel.visible() and vessel.name in _PROOF]
    vessel = nearest(world, free)
    if vessel is None:
        return None
    return take(world, vessel) or reach(world, target) or say(world, "move", target, "to", vessel)
