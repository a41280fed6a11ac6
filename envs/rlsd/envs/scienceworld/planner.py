"""A way to the goal from any state of a covered task, found by playing on in a copy of the world."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator

from rlsd.envs.scienceworld.engine.actions.referents import all_names
from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.tasks.episode import REACHED
from rlsd.envs.scienceworld.engine.world.bees import Bee
from rlsd.envs.scienceworld.engine.world.chemistry import recipe
from rlsd.envs.scienceworld.engine.world.containers import AnswerBox, FlowerPot, Vessel
from rlsd.envs.scienceworld.engine.world.living import LivingThing
from rlsd.envs.scienceworld.engine.world.materials import SOLID
from rlsd.envs.scienceworld.engine.world.places import Door
from rlsd.envs.scienceworld.engine.world.plants import Plant
from rlsd.envs.scienceworld.engine.world.thing import Thing

UNPLANNED = ("boil", "melt", "freeze", "change-the-state-of-matter-of")
"""Covered task types for which there is no plan yet."""
_LONGEST = 80
"""Actions after which a plan is given up."""
_TRIED = 80
"""Names that are tried for a thing, the shortest first."""
_WAIT = 11
"""Ticks of "wait"; "wait1" takes two."""


def plan_from(session: Session) -> tuple[str, ...] | None:
    """Actions from here to the goal; () when it is reached, None when no way is known."""
    if session.task_type in UNPLANNED:
        return None
    world = copy.deepcopy(session)
    actions: list[str] = []
    while not world.goals.completed:
        action = None if world.goals.failed or len(actions) >= _LONGEST else _next(world)
        if action is None:
            return None
        actions.append(action)
        world.step(action)
    return tuple(actions)


def _next(world: Session) -> str | None:
    """The next action of the way to the goal, from the present state alone."""
    if world.choices:
        return "x"  # no answer to the question: it is dropped
    box = next((t for t in world.universe.deep() if isinstance(t, AnswerBox)), None)
    if box is None or world.goals.at == 0:
        return _focus(world)
    return _deliver(world, box)


def _focus(world: Session) -> str | None:
    """Towards the nearest thing that the present subgoal asks for, and focus on it."""
    check = world.goals.ordered[world.goals.at].check
    wanted = [thing for thing in _candidates(world) if check(world, thing) == REACHED]
    for thing in sorted(wanted, key=lambda thing: _far(world, thing)):
        action = _go(world, _room(world, thing)) or _say(world, "focus on", thing)
        if action is not None:
            return action
    return _mix(world, world.goals.ordered[world.goals.at].asks) or _wait(world)


def _mix(world: Session, product: str) -> str | None:
    """Towards mixing what is asked for from what stands in open vessels; closed ones are opened."""
    found = recipe(product)
    if found is None:
        return None
    pairs = [(a, b) for a in _named(world, found[0]) for b in _named(world, found[1])]
    here = [(a, b) for a, b in pairs if _room(world, a) is _room(world, b) is not None]
    if not here:
        return _uncover(world, found) or _bring(world, pairs)
    one, other = min(here, key=lambda pair: _far(world, pair[0]))
    assert one.place is not None
    assert other.place is not None
    if one.place is other.place:
        return _go(world, _room(world, one)) or _say(world, "mix", one.place)
    return _go(world, _room(world, one)) or _say(world, "pour", one.place, "in", other.place)


def _bring(world: Session, pairs: list[tuple[Thing, Thing]]) -> str | None:
    """Carry the vessel of one ingredient to the other's room."""
    reachable = [(a, b) for a, b in pairs if _room(world, a) is not None and _room(world, b) is not None]
    if not reachable:
        return None
    one, other = min(reachable, key=lambda pair: _far(world, pair[0]))
    assert one.place is not None
    if one.place.place is world.agent.inventory:
        return _go(world, _room(world, other))
    return _go(world, _room(world, one)) or _say(world, "pick up", one.place)


def _named(world: Session, name: str) -> list[Thing]:
    """Things of that name in vessels of their own, or with what they are to be mixed with."""
    things = [thing for thing in world.universe.deep() if thing.name == name]
    return [thing for thing in things if isinstance(thing.place, Vessel) and thing.place.movable]


def _uncover(world: Session, names: tuple[str, ...]) -> str | None:
    """Open what one of these is hidden in."""
    for name in names:
        for thing in _named(world, name):
            for place in thing.places():
                if place.holder is not None and not place.holder.is_open:
                    return _go(world, _room(world, place)) or _say(world, "open", place)
    return None


def _far(world: Session, thing: Thing) -> int:
    route = _route(world, _room(world, thing))
    return _LONGEST if route is None else len(route)


def _candidates(world: Session) -> Iterator[Thing]:
    """Plants and animals but for bees, and movable solid things, that are within reach."""
    for thing in world.universe.deep():
        if thing.hidden or _room(world, thing) is None or isinstance(thing, (AnswerBox, FlowerPot)):
            continue
        if isinstance(thing, LivingThing):
            if not isinstance(thing, Bee):
                yield thing
        elif world.goals.ordered[world.goals.at].asks or (
            thing.movable and thing.material is not None and thing.material.state == SOLID
        ):
            yield thing


def _wait(world: Session) -> str | None:
    """Wait for a living thing to come into the stage that is asked for; None if it is past it."""
    check = world.goals.ordered[world.goals.at].check
    for thing in world.universe.deep():
        if not isinstance(thing, LivingThing) or isinstance(thing, Bee):
            continue
        cycle, now = thing.cycle, thing.cycle.at
        for at in range(now + 1, len(cycle.stages)):
            cycle.at = at
            suits = check(world, thing) == REACHED
            cycle.at = now
            if suits:
                left = cycle.stage.ticks - cycle.met[now]
                return _go(world, _room(world, thing)) or ("wait" if left > _WAIT else "wait1")
    return None


def _deliver(world: Session, box: Thing) -> str | None:
    """Carry what was focused on, a plant with its pot, into the box."""
    target = world.goals.last
    if target is None:
        return None
    if world.focus is not target:
        return _go(world, _room(world, target)) or _say(world, "focus on", target)
    load = target.place if isinstance(target, Plant) and isinstance(target.place, FlowerPot) else target
    assert load is not None
    if load.place is world.agent.inventory:
        return _go(world, _room(world, box)) or _say(world, "move", load, "to", box)
    if _room(world, load) is _room(world, box):
        return _go(world, _room(world, box)) or _say(world, "move", load, "to", box)
    return _go(world, _room(world, load)) or _say(world, "pick up", load)


def _room(world: Session, thing: Thing) -> Thing | None:
    """The room in which a thing can be reached; None in a closed container, or nowhere."""
    place = thing.place
    while place is not None and not place.is_location:
        if place is world.agent.inventory:
            return world.place
        if place.holder is None or not place.holder.is_open:
            return None
        place = place.place
    return place


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


def _go(world: Session, room: Thing | None) -> str | None:
    """The next action on the way to a room; None when the agent is there."""
    route = _route(world, room)
    if not route:
        return None
    door, beyond = route[0]
    return f"go to {beyond.name}" if door.is_open else f"open door to {beyond.name}"


def _say(world: Session, verb: str, thing: Thing, word: str = "", other: Thing | None = None) -> str | None:
    """The shortest input that means exactly this action and nothing else."""
    ends = [""] if other is None else [f" {word} {name}" for name in _names(world, other)]
    for name in _names(world, thing):
        for end in ends:
            found = world.understand(f"{verb} {name}{end}")
            if len(found) == 1 and found[0].things[0] is thing:
                return f"{verb} {name}{end}"
    return None


def _names(world: Session, thing: Thing) -> list[str]:
    return sorted(all_names(thing, world.place), key=lambda name: (len(name), name))[:_TRIED]
