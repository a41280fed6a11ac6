"""Bringing ingredients together in one vessel, and mixing them."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.chemistry import recipe
from rlsd.envs.scienceworld.engine.world.containers import Vessel
from rlsd.envs.scienceworld.engine.world.materials import LIQUID
from rlsd.envs.scienceworld.engine.world.thing import Thing
from rlsd.envs.scienceworld.planning.water import empty_vessel, fill, vessels
from rlsd.envs.scienceworld.planning.ways import Step, far, held, named, nearest, reach, say, take


def mix(world: Session, product: str) -> Step | None:
    """The next action towards a product; None where nothing makes it or something is missing."""
    ingredients = recipe(product)
    if ingredients is None:
        return None
    vessel = _vessel(world, ingredients)
    if vessel is None:
        return None
    inside = [thing.name for thing in vessel.visible()]
    missing = [name for name in ingredients if name not in inside]
    if not missing:
        return reach(world, vessel) or say(world, "mix", vessel)
    if missing == ["water"] and not _sources(world, "water", vessel):
        return fill(world, vessel)
    if not held(world, vessel):
        return take(world, vessel)
    things = [(name, nearest(world, _sources(world, name, vessel))) for name in missing]
    for name, thing in sorted(things, key=lambda one: 99 if one[1] is None else far(world, one[1])):
        step = _add(world, name, thing, vessel)
        if step is not None:
            return step
    return None


def _vessel(world: Session, ingredients: tuple[str, ...]) -> Thing | None:
    """The one that holds most of the ingredients and nothing else; else an empty one."""
    started = []
    for vessel in vessels(world):
        inside = [thing.name for thing in vessel.visible()]
        if inside and len(set(inside)) == len(inside) and all(name in ingredients for name in inside):
            started.append(vessel)
    most = max((len(vessel.visible()) for vessel in started), default=0)
    best = [vessel for vessel in started if len(vessel.visible()) == most]
    return nearest(world, best) or empty_vessel(world)


def _sources(world: Session, name: str, vessel: Thing) -> list[Thing]:
    """Things of that name that can be moved or poured into the vessel."""
    return [thing for thing in named(world, name) if thing.place is not vessel and _pourable(thing)]


def _pourable(thing: Thing) -> bool:
    if not _is_liquid(thing):
        return thing.movable
    place = thing.place
    return isinstance(place, Vessel) and place.movable and len(place.visible()) == 1


def _is_liquid(thing: Thing) -> bool:
    return thing.material is not None and thing.material.state == LIQUID


def _add(world: Session, name: str, thing: Thing | None, vessel: Thing) -> Step | None:
    if thing is None:
        return fill(world, vessel) if name == "water" else None
    step = reach(world, thing)
    if step is not None:
        return step
    if vessel.holder is not None and not vessel.holder.is_open:
        return say(world, "open", vessel)
    if _is_liquid(thing) and thing.place is not None:
        return say(world, "pour", thing.place, "in", vessel)
    return say(world, "move", thing, "to", vessel)
