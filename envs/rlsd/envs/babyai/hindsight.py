"""What only the teacher may read about a BabyAI episode: the plan from here, where things are, what changed."""

from __future__ import annotations

import math
from typing import Any

from rlsd.envs.babyai.course import Course, Situation
from rlsd.envs.babyai.planner import open_clauses
from rlsd.envs.babyai.words import COMMANDS, a, milestone, named, place, relative
from rlsd.envs.babyai.world import PICK_UP, TOGGLE, State, World
from rlsd.envs.core import Hindsight

_PLACES = 6
"""Things whose place is told at most."""


def hindsight(course: Course) -> Hindsight:
    """The facts of the present situation.

    Distances count actions; None where no plan was found, inf after a mistake that ends the mission.
    """
    now = course.now()
    world = course.copy_at(now.state)
    missing = () if now.state.won else tuple(milestone(clause) for clause in open_clauses(world))
    places = _places(world)
    changed = () if now.before is None else _changes(world, now.before, now.state)
    steps = _milestones(course, now)
    return Hindsight(
        demonstration=_commands(course.demonstration),
        plan=_commands(now.plan or ()),
        missing=tuple(dict.fromkeys((*steps, *missing))),
        whereabouts=places,
        distance=_distance(now),
        distance_before=None if now.distance_before is None else float(now.distance_before),
        changed=changed,
        lost=() if now.before is None else _gone(world, now.before, now.state),
        feedback=_feedback(now),
    )


def _commands(actions: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(COMMANDS[action] for action in actions)


def _distance(now: Situation) -> float | None:
    if now.state.lost:
        return math.inf
    return None if now.plan is None else float(len(now.plan))


def _feedback(now: Situation) -> str:
    if now.before is None or now.distance_before is None:
        return ""
    if now.state.lost:
        return "The last action broke the mission's order."
    if now.plan is None:
        return "No way to the end of the mission is known after the last action."
    was, left = now.distance_before, len(now.plan)
    trend = "nearer to" if left < was else "farther from" if left > was else "no nearer to"
    return f"The last action brought you {trend} the end of the mission ({was} -> {left} steps left)."


def _milestones(course: Course, now: Situation) -> list[str]:
    """What the plan brings about on its way, before the last of its actions."""
    world, found = course.copy_at(now.state), []
    for action in (now.plan or ())[:-1]:
        thing = world.thing_at(world.front)
        world.act(action)
        if action == PICK_UP and thing is not None:
            found.append(f"you carry the {named(thing)}")
        elif action == TOGGLE and thing is not None and thing.type == "door" and thing.is_open:
            found.append(f"the {thing.color} door is open")
    return found


def _places(world: World) -> tuple[str, ...]:
    """Where the things are that the open clauses speak of, then the keys of locked doors; the nearest first."""
    named_things: list[Any] = []
    for clause in open_clauses(world):
        for name in ("desc", "desc_move", "desc_fixed"):
            named_things += getattr(clause, name).obj_set if hasattr(clause, name) else ()
    locked = {thing.color for thing in world.things if thing.type == "door" and thing.is_locked}
    keys = [thing for thing in world.things if thing.type == "key" and thing.color in locked]
    told: dict[str, None] = {}
    for group in (named_things, keys):
        cells = [(thing, cell) for thing in group if (cell := world.where(thing)) is not None]
        cells.sort(key=lambda pair: sum(map(abs, relative(world, pair[1]))))
        for thing, cell in cells:
            where = place(*relative(world, cell))
            told[f"{a(named(thing))} is {where}" if where else f"{a(named(thing))} is where you stand"] = None
    if world.carried is not None:
        told[f"you carry {a(named(world.carried))}"] = None
    return tuple(told)[:_PLACES]


def _changes(world: World, before: State, now: State) -> tuple[str, ...]:
    """What differs between two states; `world` is in the second."""
    told = []
    if now.at != before.at:
        told.append("you are one step further on")
    if now.facing != before.facing:
        told.append(f"you now look to what was on your {'left' if (before.facing - now.facing) % 4 == 1 else 'right'}")
    if now.carried != before.carried:
        thing = world.things[now.carried if now.carried is not None else before.carried or 0]
        told.append(f"you {'now carry' if now.carried is not None else 'no longer carry'} the {named(thing)}")
    for thing, was, this in zip(world.things, before.things, now.things):
        if was[1:] != this[1:]:
            told.append(f"the {thing.color} door is now {'open' if thing.is_open else 'closed'}")
    told += [f"the {named(thing)} has been opened and is gone" for thing in _opened(world, before, now)]
    return tuple(told)


def _gone(world: World, before: State, now: State) -> tuple[str, ...]:
    return tuple(f"the {named(thing)}, opened" for thing in _opened(world, before, now))


def _opened(world: World, before: State, now: State) -> list[Any]:
    """Boxes that an action opened, which makes them vanish."""
    there = {number for _, number in now.cells} | {now.carried}
    return [world.things[number] for _, number in before.cells if number not in there]
