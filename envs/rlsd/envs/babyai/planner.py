"""A short plan to the end of the mission from any state, by one who knows the whole grid.

Every clause of the mission is worked off by shortest routes: go to the nearest thing that fits, pick it up, open it,
put it down. A locked door on the way is opened with its key, what stands in the way is put aside. Every plan is played
in the engine before it is believed. Where something was in the way, or no such plan succeeds, the bot plans too, and
the shorter plan is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from rlsd.envs.babyai.bot import bot_plan
from rlsd.envs.babyai.routes import cells_of, route
from rlsd.envs.babyai.world import DROP, PICK_UP, TOGGLE, Cell, State, World

_DEPTH = 6
"""Doors that are unlocked, and things put aside, one for the sake of another."""


class _NoWay(Exception):
    """This line of thought leads nowhere."""


def plan(world: World, state: State, *, at_most: int, any_will_do: bool = False) -> tuple[int, ...] | None:
    """Actions from a state to success; None where none was found. The world is left in another state.

    Args:
        at_most: actions after which the bot is given up.
        any_will_do: the bot is not asked where there is a plan.
    """
    if state.won or state.lost:
        return () if state.won else None
    best: tuple[int, ...] | None = None
    hindered = False
    world.restore(state)
    for order in list(_orders(world.env.instrs)):
        world.restore(state)
        trial = _Trial(world)
        try:
            for clause in order:
                trial.work_off(clause)
        except _NoWay:
            pass
        hindered |= trial.hindered
        if world.won and (best is None or len(trial.actions) < len(best)):
            best = tuple(trial.actions)
    others = bot_plan(world, state, at_most=at_most) if best is None or (hindered and not any_will_do) else None
    return min((p for p in (best, others) if p is not None), key=len, default=None)


def rerouted(world: World, before: State, old: tuple[int, ...], state: State) -> tuple[int, ...] | None:
    """The plan `old` of another state, led over new ways from this one; None where that does not win.

    What the plan picks up, drops and unlocks, and where it ends, stays; only walking differs. The world is left in
    another state.
    """
    world.restore(before)
    stops: list[tuple[Cell, int | None]] = []
    for number, action in enumerate(old):
        front, thing = world.front, world.thing_at(world.front)
        last = number == len(old) - 1
        world.act(action)
        if action in (PICK_UP, DROP) or (action == TOGGLE and (last or not _a_closed_door(before, world, thing))):
            stops.append((front, action))
        elif last:
            stops.append((world.front, None))
    world.restore(state)
    trial = _Trial(world)
    for cell, action in stops:
        way = route(world, {cell})
        if way is None:
            return None
        trial.do(*way, *(() if action is None else (action,)))
    return tuple(trial.actions) if world.won else None


def _a_closed_door(before: State, world: World, thing: Any) -> bool:
    """Whether a thing is a door that was closed, but not locked: ways lead through it."""
    return thing is not None and thing.type == "door" and not before.things[world.number(thing)][2]


def _orders(instruction: Any) -> Iterator[list[Any]]:
    """Orders in which what is left of a mission can be done; its clauses as the engine has them."""
    if not hasattr(instruction, "instr_a"):
        yield [instruction]
        return
    kind = type(instruction).__name__
    halves = [
        list(_orders(half)) if done != "success" else [[]]
        for half, done in ((instruction.instr_a, instruction.a_done), (instruction.instr_b, instruction.b_done))
    ]
    for a, b in product(*halves):
        if kind != "AfterInstr":
            yield a + b
        if kind == "AfterInstr" or (kind == "AndInstr" and a and b):
            yield b + a


def open_clauses(world: World) -> list[Any]:
    """The clauses of the mission that are not done, in an order in which they can be."""
    return [] if world.won else next(_orders(world.env.instrs))


class _Trial:
    """A line of thought, played in the engine."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.actions: list[int] = []
        self.hindered = False

    def work_off(self, clause: Any) -> None:
        kind = type(clause).__name__
        if kind == "GoToInstr":
            self.face(clause.desc.obj_poss)
        elif kind == "OpenInstr":
            self.open(clause.desc.obj_set)
        elif kind == "PickupInstr":
            self.pick_up(clause.desc.obj_set)
        else:
            if self.world.carried not in clause.desc_move.obj_set:
                self.pick_up(clause.desc_move.obj_set)
            near = {(x + i, y + j) for x, y in _cells(clause.desc_fixed.obj_poss) for i, j in _AROUND}
            self.drop(near, clause=clause)

    def do(self, *actions: int) -> None:
        for action in actions:
            if self.world.won or self.world.lost:
                return
            self.actions.append(action)
            self.world.act(action)

    def face(self, targets: Iterable[Any], depth: int = _DEPTH) -> None:
        """Go where one of the cells is right in front; what is in the way is put aside or unlocked."""
        targets = frozenset(_cells(targets))
        way = route(self.world, targets)
        if way is not None:
            self.do(*way)
            return
        wished = route(self.world, targets, wished=True) if depth else None
        if wished is None:
            raise _NoWay
        self.hindered = True
        cells = cells_of(self.world, wished)
        obstacle = next(t for cell in cells if (t := self.world.thing_at(cell)) is not None and not _passable(t))
        if obstacle.type == "door":
            self.unlock(obstacle, depth - 1)
        else:
            self._clear(obstacle, cells, depth - 1)
        self.face(targets, depth - 1)

    def pick_up(self, things: Iterable[Any], depth: int = _DEPTH) -> None:
        things = [thing for thing in things if thing.type != "wall"]
        if self.world.carried is not None:
            self.put_aside()
        self.face(map(self.world.where, things), depth)
        if self.world.carried is not None:  # a key that was needed on the way
            self.put_aside()
            self.face(map(self.world.where, things), depth)
        self.do(PICK_UP)

    def drop(self, targets: Iterable[Cell], depth: int = _DEPTH, clause: Any = None) -> None:
        held = self.world.carried
        self.face((cell for cell in targets if self.world.thing_at(cell) is None), depth)
        if self.world.carried is not held:
            raise _NoWay
        if clause is not None and clause.preCarrying is not held:  # the clause counts what it saw carried
            self.do(DROP, PICK_UP)
        self.do(DROP)

    def put_aside(self, keep_free: Iterable[Cell] = ()) -> None:
        """Drop what is carried on the nearest free cell that is no doorway and blocks none."""
        kept = {*keep_free, self.world.at}
        free = [
            (x, y)
            for y in range(1, self.world.height - 1)
            for x in range(1, self.world.width - 1)
            if (x, y) not in kept and self.world.thing_at((x, y)) is None and not self._by_a_door((x, y))
        ]
        self.drop(free, depth=0)

    def open(self, doors: Iterable[Any], depth: int = _DEPTH) -> None:
        doors = list(doors)
        if closed := [self.world.where(door) for door in doors if not door.is_open and not door.is_locked]:
            self.face(closed, depth)
            self.do(TOGGLE)
        elif opened := [self.world.where(door) for door in doors if door.is_open]:
            self.face(opened, depth)
            self.do(TOGGLE, TOGGLE)
        else:
            self.unlock(doors[0], depth)

    def unlock(self, door: Any, depth: int) -> None:
        held = self.world.carried
        if held is None or (held.type, held.color) != ("key", door.color):
            self.pick_up((t for t in self.world.things if (t.type, t.color) == ("key", door.color)), depth)
        key = self.world.carried
        self.face([self.world.where(door)], depth)
        if self.world.carried is not key:
            raise _NoWay
        self.do(TOGGLE)
        if held is not None and held is not key:
            self.put_aside()
            self.pick_up([held], depth)

    def _clear(self, thing: Any, way: list[Cell], depth: int) -> None:
        """Put a thing aside that stands in the way; what is carried is taken up again."""
        held = self.world.carried
        if held is not None:
            self.put_aside(way)
        self.face([self.world.where(thing)], depth)
        self.do(PICK_UP)
        self.put_aside([*way, self.world.at])
        if held is not None:
            self.pick_up([held], depth)

    def _by_a_door(self, cell: Cell) -> bool:
        x, y = cell
        return any((t := self.world.thing_at((x + i, y + j))) is not None and t.type == "door" for i, j in _AROUND)


_AROUND = ((1, 0), (0, 1), (-1, 0), (0, -1))


def _cells(positions: Iterable[Any]) -> list[Cell]:
    return [(int(p[0]), int(p[1])) for p in positions if p is not None and p[0] >= 0]


def _passable(thing: Any) -> bool:
    return not thing.can_pickup() and not (thing.type == "door" and thing.is_locked)
