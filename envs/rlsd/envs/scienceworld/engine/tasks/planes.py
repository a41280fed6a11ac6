"""Inclined planes, on which things slide, and the tasks that compare two of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import FAILED, OPEN, REACHED, Check, Goal, Goals
from rlsd.envs.scienceworld.engine.world.abilities import open_holder
from rlsd.envs.scienceworld.engine.world.devices import StopWatch
from rlsd.envs.scienceworld.engine.world.materials import GAS, LIQUID, material
from rlsd.envs.scienceworld.engine.world.scala import JavaRandom
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, Thing

_GRAVITY = 0.10000000149011612
"""0.1 in single precision."""
_TOP = 0.9900000095367432
_ROOM = "workshop"
_PLAIN = "default friction material"
_BLOCKS = ("wood block", "steel block", "brick")


class InclinedPlane(Thing):
    """What is put on it starts at the top and slides down, by its angle and the friction of its surface."""

    base_name = "inclined plane"

    def __init__(self, state: State, angle: float = 45.0, surface: str = _PLAIN, letter: str = "") -> None:
        self._heights: dict[Thing, float] = {}
        super().__init__(state)
        self.angle, self.letter, self.plain = angle, letter, surface == _PLAIN
        self.surface = material(surface)
        self.holder, self.material = open_holder(), material("steel")

    def put(self, thing: Thing) -> None:
        self._heights[thing] = 1.0
        super().put(thing)

    def tick(self) -> None:
        for thing in self.visible():
            self._slide(thing)
        super().tick()

    def is_idle(self) -> bool:
        return not len(self.visible())

    def _slide(self, thing: Thing) -> None:
        state = thing.material.state if thing.material is not None else ""
        if state in (LIQUID, GAS):
            self._heights[thing] = 0.0 if state == LIQUID else 1.0
        elif self._heights[thing] > 0:
            step = _GRAVITY * math.sin(math.radians(self.angle)) * (1 - self.surface.friction)
            self._heights[thing] = max(self._heights[thing] - step, 0.0)

    def shown_name(self, instead: str = "") -> str:
        surface = "" if self.plain else f"with a {self.surface.substance} surface"
        return super().shown_name(instead or " ".join(f"{self.name} {self.letter} {surface}".split()))

    def referents(self) -> list[str]:
        names = ["inclined plane", "plane", self.name, self.shown_name()]
        return [*names, *(f"{name} {self.letter}" for name in names)] if self.letter else names

    def describe(self, mode: int = CURSORY) -> str:
        told = [f" a {thing.shown_name()}{self._where(self._heights[thing])}" for thing in self.visible()]
        return f"an {self.shown_name()}" + (f", with: {','.join(told)}" if told else "")

    def _where(self, height: float) -> str:
        if height == 0:
            return " at the bottom of the plane"
        if height >= _TOP:
            return " at the top of the plane"
        percent = Decimal(repr(100 - 100 * height)).quantize(Decimal(1), ROUND_HALF_UP)
        return f" approximately {percent}% down the plane"


_NAMED = (
    "aluminum", "brass", "bronze", "caesium", "copper", "iron", "lead", "platinum", "steel", "tin", "titanium", "zinc",
    "glass", "plastic", "ceramic", "wood", "paper", "sandpaper", "cotton cloth", "rubber", "chocolate", "soapy water",
    "green paint",
)  # fmt: skip
_UNNAMED = tuple(f"unknown friction material {letter}" for letter in "bcdefghj")
_ANGLES = {"B": 70.0, "C": 80.0, "D": 20.0, "E": 10.0, "F": 60.0, "G": 40.0, "H": 30.0, "J": 50.0}


@lru_cache(maxsize=4)
def _pairs(surfaces: tuple[str, ...], seed: int) -> tuple[tuple[str, str, str], ...]:
    """Two surfaces that differ enough in friction, and a block, in the order of variations; without any: angles."""
    kinds = JavaRandom(seed).shuffled(surfaces) if surfaces else list(_ANGLES)
    measure = {kind: material(kind).friction for kind in surfaces} if surfaces else _ANGLES
    least = 0.05 if surfaces else 5.0
    return tuple(
        (a, b, block) for a in kinds for b in kinds if abs(measure[a] - measure[b]) > least for block in _BLOCKS
    )


def friction(surfaces: tuple[str, ...], seed: int, text: str, extra: bool) -> Callable[[State, int], Assignment]:
    """Which of two surfaces has the most, or the least, friction."""

    def assign(state: State, variation: int) -> Assignment:
        one, other, block = _pairs(surfaces, seed)[variation]
        planes = [InclinedPlane(state, surface=kind) for kind in (one, other)]
        low, high = sorted((plane.surface for plane in planes), key=lambda stuff: stuff.friction)
        asked = "most" if variation % 2 == 0 else "least"
        wanted = high.substance if asked == "most" else low.substance
        names = JavaRandom(variation).shuffled([low.substance, high.substance])
        goal = Goal(text, _right(lambda plane: plane.surface.substance == wanted), defocus=True)
        return _assignment(state, planes, block, goal, f"{asked} friction", names, extra)

    return assign


def angle(state: State, variation: int) -> Assignment:
    """Which of two planes is the steepest, or the shallowest."""
    one, other, block = _pairs((), 0)[variation]
    planes = [InclinedPlane(state, _ANGLES[letter], letter=letter) for letter in (one, other)]
    low, high = sorted(planes, key=lambda plane: plane.angle)
    asked = "shallowest" if variation % 2 == 0 else "steepest"
    wanted = low.letter if asked == "shallowest" else high.letter
    names = JavaRandom(variation).shuffled([high.letter, low.letter])
    goal = Goal("", _right(lambda plane: plane.letter == wanted), defocus=True)
    return _assignment(state, planes, block, goal, f"{asked} angle", names, False)


def _right(fits: Callable[[InclinedPlane], bool]) -> Check:
    """Focus on the right plane; fails on anything else."""

    def check(episode: object, focus: Thing | None) -> str:
        if focus is None:
            return OPEN
        return REACHED if isinstance(focus, InclinedPlane) and fits(focus) else FAILED

    return check


def _assignment(
    state: State, planes: list[InclinedPlane], block: str, goal: Goal, asked: str, names: list[str], numbered: bool
) -> Assignment:
    """`numbered`: texts of the subgoals about time tell which plane they are about."""
    optional = [
        Goal("move to a new location (unless starting in task location)", g.moved_on(unless_in=_ROOM)),
        Goal("move to the location asked by the task", g.at_location(_ROOM)),
    ]
    mass = make(state, block)
    for i, plane in enumerate(planes, start=1):
        end = f" (plane {i})" if numbered else ""
        holding = g.holds(plane.shown_name().lower(), mass.name)
        optional += [
            Goal(f"move block to plane {i}", holding, key=f"b{i}"),
            Goal(f"activate time keeping device{end}", g.switched("stopwatch", True), key=f"on{i}", after=f"b{i}"),
            Goal(f"deactivate time keeping device{end}", g.switched("stopwatch", False), key=f"off{i}", after=f"on{i}"),
            Goal(f"read time keeping device{end}", g.looked_at("stopwatch", f"read{i}"), after=f"off{i}"),
        ]
    things: list[Thing] = [*planes, mass]
    return Assignment(
        f"Your task is to determine which of the two inclined planes ({', '.join(names)}) has the {asked}. After "
        f"completing your experiment, focus on the inclined plane with the {asked}.",
        Goals([goal], optional),
        [*(Addition(thing, _ROOM, always=True) for thing in things), Addition(StopWatch(state), _ROOM)],
        draws=1,
    )


named_surfaces = friction(_NAMED, 3, "focus on correct inclined plane", True)
unnamed_surfaces = friction(_UNNAMED, 4, "", False)
