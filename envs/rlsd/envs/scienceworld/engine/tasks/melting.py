"""Measuring a melting point."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Goal, Goals
from rlsd.envs.scienceworld.engine.tasks.instruments import COLORS, chosen
from rlsd.envs.scienceworld.engine.tasks.matter import HEATERS, cup, heater_goals
from rlsd.envs.scienceworld.engine.world.containers import AnswerBox
from rlsd.envs.scienceworld.engine.world.materials import STATES, material
from rlsd.envs.scienceworld.engine.world.physics import change_state
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import UnknownSubstance, make

_ROOM = "kitchen"
_LIMITS = (-10, 10, 50, 150, 200)
_KNOWN = ("water", "orange juice", "chocolate", "mercury", "gallium", "tin", "lead")
_IN_CUPS = ("orange juice", "mercury", "gallium", "tin", "lead")
_DRAWS_BEFORE_KNOWN = 2720
_DRAWS_BEFORE_UNKNOWN = 2745
"""Random numbers that the original draws for task types that come before, when it makes all of them."""
_BOXES = len(COLORS) - 1
_MELTS: dict[str, float] = {
    "B": 75, "C": 115, "D": -30, "E": -10, "F": 275, "G": 30, "H": 225, "J": -75, "K": 520, "L": 325, "M": -25,
    "N": 175, "O": 25, "P": 75, "Q": 425, "R": 30, "S": 15, "T": -2, "U": 625, "V": -220, "W": 575, "X": -175,
    "Y": 675, "Z": 775,
}  # fmt: skip
"""Unknown substances and their melting points."""
_FLUID_BELOW = 15.0
"""What melts below comes in a cup."""
_TIMES = 5
"""How often the original makes each known substance; it makes the unknown ones the square of it."""


class _Substance(NamedTuple):
    draws: int
    """Random numbers that are drawn before that of its cup."""
    name: str
    key: str


def _known_things() -> list[_Substance]:
    out, draws = list[_Substance](), _DRAWS_BEFORE_KNOWN
    for _ in range(_TIMES):
        for name in _KNOWN:
            out.append(_Substance(draws, name, name))
            draws += name in _IN_CUPS
    return out


def _unknown_things() -> list[_Substance]:
    out, draws = list[_Substance](), _DRAWS_BEFORE_UNKNOWN
    for _ in range(_TIMES**2):
        for letter, melts in _MELTS.items():
            draws += 1
            state = "solid" if melts > material("metal").temperature else "liquid"
            out.append(_Substance(draws, f"{state} unknown substance {letter}", letter))
            draws += melts < _FLUID_BELOW
    return out


@lru_cache(maxsize=2)
def _variations(known: bool) -> tuple[tuple[_Substance, int, int], ...]:
    """The substance, the limit, the color of the first box."""
    things = sorted(_known_things() if known else _unknown_things(), key=lambda thing: thing.name)
    each = len(_LIMITS) * _BOXES
    out = []
    for i in chosen(len(things) * each, 0.5 if known else 0.02):
        limit, color = divmod(i % each, _BOXES)
        out.append((things[i // each], _LIMITS[limit], color))
    return tuple(out)


def known(state: State, variation: int) -> Assignment:
    """Of a substance by name."""
    what, limit, color = _variations(True)[variation]
    state.random.seed(variation)
    state.random.skip(what.draws)
    name, additions = what.name, list[Addition]()
    thing = make(state, name)
    assert thing.material is not None
    if name in _IN_CUPS:
        holders = ("fridge",) if name == "orange juice" else ()
        additions.append(Addition(cup(state, thing), _ROOM, holders=holders, name=name))
    elif name == "chocolate":
        additions.append(Addition(thing, _ROOM, holders=("fridge",)))
    return _assignment(state, name, thing.material.melting_point, limit, color, additions)


def unknown(state: State, variation: int) -> Assignment:
    """Of a substance that goes by a letter."""
    what, limit, color = _variations(False)[variation]
    state.random.seed(variation)
    state.random.skip(what.draws)
    thing = UnknownSubstance(state, what.key)
    stuff = thing.material
    assert stuff is not None
    stuff.melting_point, stuff.substance = float(_MELTS[what.key]), thing.name
    stuff.names = dict(zip(STATES, (f"{word} {thing.name}" for word in ("solid", "liquid", "gaseous")), strict=True))
    change_state(thing, stuff, rename=True)
    load = cup(state, thing) if stuff.melting_point < _FLUID_BELOW else thing
    addition = Addition(load, _ROOM, always=True)
    return _assignment(state, what.name, stuff.melting_point, limit, color, [addition])


def _assignment(state: State, name: str, melts: float, limit: int, color: int, additions: list[Addition]) -> Assignment:
    above, below = AnswerBox(state, COLORS[color]), AnswerBox(state, COLORS[color + 1])
    right = above.name if melts >= limit else below.name
    return Assignment(
        f"Your task is to measure the melting point of {name}, which is located around the {_ROOM}. First, focus on "
        f"the thermometer. Next, focus on the {name}. If the melting point of {name} is above {float(limit)} degrees "
        f"celsius, focus on the {above.name}. If the melting point of {name} is below {float(limit)} degrees celsius, "
        f"focus on the {below.name}. The boxes are located around the {_ROOM}. ",
        Goals(
            [
                Goal("focus on thermometer", g.named("thermometer"), defocus=True, asks="thermometer"),
                Goal("focus on substance", g.named(name), key="focusObject", asks=name),
                Goal("focus on correct answer box", g.answer_box(right), asks=right),
            ],
            _helpful(name),
        ),
        [*additions, Addition(above, _ROOM), Addition(below, _ROOM)],
    )


def _helpful(name: str) -> list[Goal]:
    asked = "move to the location asked by the task"
    return [
        Goal("be in same location as thermometer", g.in_room_with("thermometer")),
        Goal("have thermometer in inventory", g.holds("inventory", "thermometer")),
        Goal("move to a new location", g.moved_on()),
        Goal(f"{asked} (substance location)", g.at_location(_ROOM), key="move1"),
        Goal(f"{asked} (answer box location)", g.at_location(_ROOM), key="move1"),
        *(
            Goal(f"move to a location with a heating device ({room})", g.at_location(room), after="move1")
            for room in ("kitchen", "outside", "foundry")
        ),
        Goal("have task object in inventory", g.holds("inventory", name)),
        Goal("use thermometer on substance", g.used("thermometer", name, "used")),
        Goal(
            "use thermometer on substance (after it has been heated)",
            g.used("thermometer", name, "used on the heated"),
            after="heatObject",
        ),
        Goal("have substance alone in a single container", g.alone_in_one((name,))),
        *heater_goals(),
        *(
            Goal(f"have substance on heater ({heater})", g.in_container(heater), after="focusObject")
            for heater in (*HEATERS, "fire pit")
        ),
        Goal("heat substance by at least 20C", g.warmer(20), key="heatObject", after="focusObject"),
    ]
