"""Focusing on what is asked for, and carrying it into a box."""

from __future__ import annotations

from collections.abc import Iterator

from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.tasks.episode import REACHED, Goal
from rlsd.envs.scienceworld.engine.world.bees import Bee
from rlsd.envs.scienceworld.engine.world.containers import AnswerBox, FlowerPot, Vessel
from rlsd.envs.scienceworld.engine.world.living import LivingThing
from rlsd.envs.scienceworld.engine.world.materials import LIQUID, SOLID
from rlsd.envs.scienceworld.engine.world.plants import Plant
from rlsd.envs.scienceworld.engine.world.thing import Thing
from rlsd.envs.scienceworld.planning.mixing import mix
from rlsd.envs.scienceworld.planning.water import empty_vessel, fill
from rlsd.envs.scienceworld.planning.ways import Step, far, focus, go, held, named, nearest, reach, room_of, say, take

_WAIT = 11
"""Ticks of "wait"; "wait1" takes two."""


def present(world: Session) -> Goal:
    """The subgoal that is to be reached now."""
    return world.goals.ordered[world.goals.at]


def asked(world: Session) -> Step | None:
    """Towards what the present subgoal asks for by name, made by mixing or drawn from a sink where there is none."""
    goal = present(world)
    if goal.box is not None:
        return deliver(world)
    things = [thing for thing in named(world, goal.asks) if goal.check(world, thing) == REACHED]
    if goal.asks == "water":
        things = [thing for thing in things if _in_vessel(thing)]
        if not things:
            return fill(world, empty_vessel(world))
    thing = nearest(world, things)
    return mix(world, goal.asks) if thing is None else focus(world, thing)


def _in_vessel(thing: Thing) -> bool:
    return isinstance(thing.place, Vessel) and thing.place.movable


def living(world: Session) -> Step | None:
    """Towards the nearest thing that the present subgoal accepts; then into the box."""
    if world.goals.at > 0 and any(isinstance(thing, AnswerBox) for thing in world.things()):
        return deliver(world)
    check = present(world).check
    wanted = [thing for thing in _candidates(world) if check(world, thing) == REACHED]
    for thing in sorted(wanted, key=lambda thing: far(world, thing)):
        step = focus(world, thing)
        if step is not None:
            return step
    return _wait(world)


def _candidates(world: Session) -> Iterator[Thing]:
    """Plants and animals but for bees, and movable solid things, that are within reach."""
    for thing in world.things():
        if thing.hidden or room_of(world, thing) is None or isinstance(thing, (AnswerBox, FlowerPot, Bee)):
            continue
        solid = thing.material is not None and thing.material.state == SOLID
        if isinstance(thing, LivingThing) or (thing.movable and solid):
            yield thing


def _wait(world: Session) -> Step | None:
    """Wait for a living thing to come into the stage that is asked for; None if it is past it."""
    check = present(world).check
    for thing in world.things():
        if not isinstance(thing, LivingThing) or isinstance(thing, Bee):
            continue
        cycle, now = thing.cycle, thing.cycle.at
        for at in range(now + 1, len(cycle.stages)):
            cycle.at = at
            suits = check(world, thing) == REACHED
            cycle.at = now
            if suits:
                left = cycle.stage.ticks - cycle.met[now]
                return go(world, room_of(world, thing)) or ("wait" if left > _WAIT else "wait1",)
    return None


def deliver(world: Session) -> Step | None:
    """Carry what was focused on into the box, a plant with its pot, a liquid with its vessel."""
    target, goal = world.goals.last, present(world)
    if target is None:
        return None
    boxes = [thing for thing in world.things() if isinstance(thing, AnswerBox)]
    wanted = goal.box(target) if goal.box is not None else boxes[0].name
    box = next((thing for thing in boxes if thing.name == wanted), None)
    if box is None:
        return None
    if world.focus is not target:
        return focus(world, target)
    load = _load(target)
    if not held(world, load) and room_of(world, load) is not room_of(world, box):
        return take(world, load)
    return reach(world, box) or say(world, "move", load, "to", box)


def _load(target: Thing) -> Thing:
    place = target.place
    potted = isinstance(target, Plant) and isinstance(place, FlowerPot)
    fluid = target.material is not None and target.material.state == LIQUID
    return place if place is not None and (potted or (fluid and isinstance(place, Vessel))) else target
