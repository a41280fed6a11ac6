"""One episode in the package's engine, which can be saved, restored and looked at without being changed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE = range(6)
"""The engine's actions; its `done` does nothing."""
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Direction → one step in x and y."""
_DESCRIPTIONS = ("desc", "desc_move", "desc_fixed")

_PLACED = 20_000
"""Things and agents placed while a layout is made, after which it is given up; a few hundred are usual."""

Cell = tuple[int, int]


class EndlessLayout(Exception):
    """A seed with which the package would look for a place for ever, because a room is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that steps change. Things are named by their number."""

    at: Cell
    facing: int
    carried: int | None
    cells: tuple[tuple[int, int], ...]
    """(index in the grid, thing)."""
    things: tuple[tuple[Cell | None, bool, bool], ...]
    """Position, whether open, whether locked."""
    clauses: tuple[tuple[int | None, tuple[tuple[Cell, ...], ...]], ...]
    """What each clause of the mission remembers: the thing carried before, positions by description."""
    done: tuple[tuple[Any, Any], ...]
    """Which halves of each compound mission are done."""
    won: bool
    lost: bool
    seen: bytes
    """1 for every cell of the grid that was in sight so far."""


class World:
    """An episode of a level.

    Args:
        entry_point: of the level's class in the package, "module:Class".
        kwargs: the level's arguments.
        seed: for the package's `reset`.

    Raises:
        EndlessLayout: the package makes no layout of the seed.
    """

    def __init__(self, entry_point: str, kwargs: dict[str, Any], seed: int) -> None:
        self.env: Any = quiet(entry_point)(**kwargs)
        self.env.reset(seed=seed)
        self.width, self.height = self.env.width, self.env.height
        self.mission: str = self.env.mission
        self.limit: int = self.env.max_steps
        """The package's own limit of steps."""
        self.won = self.lost = False
        grid = [thing for thing in self.env.grid.grid if thing is not None and thing.type != "wall"]
        grid += [self.env.carrying] if self.env.carrying is not None else []
        self.things: list[Any] = [*grid, *(t.contains for t in grid if t.contains is not None)]
        self._number = {id(thing): number for number, thing in enumerate(self.things)}
        self.clauses: list[Any] = []
        self.compounds: list[Any] = []
        self._collect(self.env.instrs)
        self.seen = bytearray(self.width * self.height)
        self._look()

    @property
    def at(self) -> Cell:
        x, y = self.env.agent_pos
        return int(x), int(y)

    @property
    def facing(self) -> int:
        return int(self.env.agent_dir)

    @property
    def carried(self) -> Any:
        return self.env.carrying

    @property
    def front(self) -> Cell:
        (x, y), (dx, dy) = self.at, STEPS[self.facing]
        return x + dx, y + dy

    def thing_at(self, cell: Cell) -> Any:
        """The thing in a cell, a wall included; None: free. Outside the grid there is wall."""
        x, y = cell
        grid = self.env.grid
        return grid.grid[y * self.width + x] if 0 <= x < self.width and 0 <= y < self.height else grid.grid[0]

    def number(self, thing: Any) -> int:
        """The number by which states name a thing."""
        return self._number[id(thing)]

    def where(self, thing: Any) -> Cell | None:
        """Where a thing lies; None: it is carried, in a box, or gone."""
        grid = self.env.grid.grid
        return divmod(grid.index(thing), self.width)[::-1] if thing in grid else None

    def act(self, action: int) -> None:
        """One step of the engine; no step is taken after the end."""
        if self.won or self.lost:
            return
        _, reward, terminated, _, _ = self.env.step(action)
        self.won, self.lost = bool(terminated and reward), bool(terminated and not reward)
        if action in (LEFT, RIGHT, FORWARD, TOGGLE):
            self._look()

    def view(self) -> list[tuple[int, int, Any]]:
        """(steps forward, steps to the right, what is there) of every cell in sight, the agent's own left out.

        The engine's rule: a square of `agent_view_size` cells before the agent; sight spreads from cell to cell,
        sidewards and forwards, through everything but walls and closed doors.
        """
        size = self.env.agent_view_size
        half, (x, y), (dx, dy) = size // 2, self.at, STEPS[self.facing]
        found: list[tuple[int, int, Any]] = []
        lit = {half}
        for f in range(size):
            row = [self.thing_at((x + dx * f - dy * r, y + dy * f + dx * r)) for r in range(-half, size - half)]
            clear = [thing is None or thing.see_behind() for thing in row]
            after: set[int] = set()
            for order, step, last in ((range(size), 1, size - 1), (range(size - 1, -1, -1), -1, 0)):
                for i in order:
                    if i in lit and clear[i] and i != last:
                        lit.add(i + step)
                        after |= {i, i + step}
            found += [(f, i - half, row[i]) for i in sorted(lit) if f or i != half]
            lit = after
        return found

    def save(self) -> State:
        env, number = self.env, self._number
        return State(
            at=self.at,
            facing=self.facing,
            carried=None if env.carrying is None else number[id(env.carrying)],
            cells=tuple(
                (i, number[id(thing)])
                for i, thing in enumerate(env.grid.grid)
                if thing is not None and thing.type != "wall"
            ),
            things=tuple(map(_condition, self.things)),
            clauses=tuple(self._remembered(clause) for clause in self.clauses),
            done=tuple((c.a_done, c.b_done) for c in self.compounds),
            won=self.won,
            lost=self.lost,
            seen=bytes(self.seen),
        )

    def restore(self, state: State) -> None:
        """Go on from a state of the same episode."""
        env, grid = self.env, self.env.grid.grid
        env.agent_pos, env.agent_dir, env.step_count = state.at, state.facing, 0
        env.carrying = None if state.carried is None else self.things[state.carried]
        for i, thing in enumerate(grid):
            if thing is not None and thing.type != "wall":
                grid[i] = None
        for i, number in state.cells:
            grid[i] = self.things[number]
        for thing, (cell, is_open, is_locked) in zip(self.things, state.things):
            thing.cur_pos = cell
            if thing.type == "door":
                thing.is_open, thing.is_locked = is_open, is_locked
        for clause, (before, positions) in zip(self.clauses, state.clauses):
            if hasattr(clause, "preCarrying"):
                clause.preCarrying = None if before is None else self.things[before]
            for name, cells in zip(_descriptions(clause), positions):
                getattr(clause, name).obj_poss = list(cells)
        for compound, halves in zip(self.compounds, state.done):
            compound.a_done, compound.b_done = halves
        self.won, self.lost, self.seen = state.won, state.lost, bytearray(state.seen)

    def content(self) -> str:
        """Mission, the agent's place, and the whole grid."""
        rows = []
        for y in range(self.height):
            rows.append(" ".join(_letter(self.thing_at((x, y))) for x in range(self.width)))
        carried = "" if self.carried is None else f" carrying {_letter(self.carried)}"
        return "\n".join([self.mission, f"at {self.at} facing {self.facing}{carried}", *rows])

    def _look(self) -> None:
        (x, y), (dx, dy) = self.at, STEPS[self.facing]
        self.seen[y * self.width + x] = 1
        for f, r, _ in self.view():
            i, j = x + dx * f - dy * r, y + dy * f + dx * r
            if 0 <= i < self.width and 0 <= j < self.height:
                self.seen[j * self.width + i] = 1

    def _collect(self, instruction: Any) -> None:
        if hasattr(instruction, "instr_a"):
            self.compounds.append(instruction)
            self._collect(instruction.instr_a)
            self._collect(instruction.instr_b)
        else:
            self.clauses.append(instruction)

    def _remembered(self, clause: Any) -> tuple[int | None, tuple[tuple[Cell, ...], ...]]:
        before = getattr(clause, "preCarrying", None)
        positions = tuple(tuple(map(_cell, getattr(clause, name).obj_poss)) for name in _descriptions(clause))
        return None if before is None else self._number[id(before)], positions


@lru_cache(maxsize=128)
def quiet(entry_point: str) -> type:
    """A level's class that prints nothing, draws no image, and pays 1 for success; layouts and rules are the same."""
    from minigrid.envs.babyai.core.roomgrid_level import RejectSampling, RoomGridLevel

    module, _, name = entry_point.partition(":")
    level = getattr(importlib.import_module(module), name)

    class Quiet(level):
        _placed = 0

        def place_obj(self, *args: Any, **kwargs: Any) -> Any:
            self._placed += 1
            if self._placed > _PLACED:
                raise EndlessLayout
            return super().place_obj(*args, **kwargs)

        def gen_obs(self) -> dict[str, Any]:
            return {}

        def _reward(self) -> float:
            return 1.0

        def _gen_grid(self, width: int, height: int) -> None:
            while True:
                try:
                    super(RoomGridLevel, self)._gen_grid(width, height)  # type: ignore[misc]
                    self.gen_mission()
                    self.validate_instrs(self.instrs)
                except (RecursionError, RejectSampling):
                    continue
                break
            self.surface = self.mission = self.instrs.surface(self)

    return Quiet


def _descriptions(clause: Any) -> list[str]:
    return [name for name in _DESCRIPTIONS if hasattr(clause, name)]


def _condition(thing: Any) -> tuple[Cell | None, bool, bool]:
    place = None if thing.cur_pos is None else _cell(thing.cur_pos)
    return place, getattr(thing, "is_open", False), getattr(thing, "is_locked", False)


def _cell(position: Any) -> Cell:
    return int(position[0]), int(position[1])


def _letter(thing: Any) -> str:
    if thing is None:
        return "."
    if thing.type == "wall":
        return "#"
    state = ("locked-" if thing.is_locked else "open-" if thing.is_open else "") if thing.type == "door" else ""
    inside = "" if thing.contains is None else f"({_letter(thing.contains)})"
    return f"{state}{thing.color}-{thing.type}{inside}"
