"""Tasks with the thermometer."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Goal, Goals
from rlsd.envs.scienceworld.engine.world.containers import AnswerBox
from rlsd.envs.scienceworld.engine.world.electric import Wire
from rlsd.envs.scienceworld.engine.world.scala import JavaRandom
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import UnknownSubstance, make
from rlsd.envs.scienceworld.engine.world.thing import Thing

COLORS = ("red", "green", "blue", "orange", "yellow", "purple")
_ROOMS = ("living room", "bedroom", "bathroom")
_LIMITS = (-50, 0, 50, 100, 200)
_MEASURED = ("sodium chloride", "metal fork", "wood", "wire", *("unknown substance B",) * 20)
_DRAWS_BEFORE_MEASURED = 2000
"""Random numbers that the original draws for task types that come before, when it makes all of them."""
_SHUFFLE = 5
"""The seed with which combinations are chosen."""


class _Measured(NamedTuple):
    at: int
    """In the order in which the original makes them, and draws two numbers for each."""
    name: str
    room: str
    around: int
    """The temperature that it is warmer or colder than, by 50 to 149 degrees."""


def chosen(count: int, share: float) -> list[int]:
    """What the original takes of all combinations: that share of each split, in the order of variations."""
    half, most = count // 2, math.floor(count * 0.75)
    draw = JavaRandom(_SHUFFLE)
    out = []
    for part in (range(half), range(half, most), range(most, count)):
        out += draw.shuffled(part)[: int(len(part) * share)]
    return out


@lru_cache(maxsize=1)
def _variations() -> tuple[tuple[_Measured, int, str, int], ...]:
    """What is measured, the limit, the room of the boxes, the color of the first box."""
    things = [(name, room, around) for room in _ROOMS for around in _LIMITS for name in _MEASURED]
    measured = sorted((_Measured(i, *facts) for i, facts in enumerate(things)), key=lambda one: one.name)
    boxes = [(room, color) for room in _ROOMS for color in range(len(COLORS) - 1)]
    each = len(_LIMITS) * len(boxes)
    out = []
    for i in chosen(len(measured) * each, 0.02):
        limit, box = divmod(i % each, len(boxes))
        out.append((measured[i // each], _LIMITS[limit], *boxes[box]))
    return tuple(out)


def measure(state: State, variation: int) -> Assignment:
    """Put a thing into one of two boxes, by its temperature."""
    what, limit, box_room, color = _variations()[variation]
    state.random.seed(variation)
    state.random.skip(_DRAWS_BEFORE_MEASURED + 2 * what.at)
    degrees = state.random.below(100) + 50
    thing = _thing(state, what.name)
    assert thing.material is not None
    thing.material.temperature = float(what.around + (-degrees if state.random.coin() else degrees))
    warm, cold = AnswerBox(state, COLORS[color]), AnswerBox(state, COLORS[color + 1])
    name, room = what.name, what.room
    return Assignment(
        f"Your task is to measure the temperature of {name}, which is located around the {room}. First, focus on the "
        f"thermometer. Next, focus on the {name}. If the {name} temperature is above {float(limit)} degrees celsius, "
        f"place it in the {warm.name}. If the {name} temperature is below {float(limit)} degrees celsius, place it in "
        f"the {cold.name}. The boxes are located around the {box_room}. ",
        Goals(
            [
                Goal("focus on instrument", g.named("thermometer"), defocus=True, asks="thermometer"),
                Goal("focus on object", g.named(name), asks=name),
                Goal(
                    "move object to correct answer box",
                    g.sorted_by_temperature(limit, warm.name, cold.name),
                    box=lambda thing: warm.name if _warmth(thing) >= limit else cold.name,
                ),
            ],
            [
                Goal("be in same location as thermometer", g.in_room_with("thermometer")),
                Goal("have thermometer in inventory", g.holds("inventory", "thermometer")),
                Goal("move to a new location", g.moved_on()),
                Goal("move to the location asked by the task (object location)", g.at_location(room), key="move1"),
                Goal(
                    "move to the location asked by the task (answer box location)",
                    g.at_location(box_room),
                    key="move2",
                    after="move1",
                ),
                Goal("have task object in inventory", g.holds("inventory", name)),
                Goal("use instrument on object", g.used("thermometer", name, "used")),
                Goal(
                    "use instrument on object (in answer box location)",
                    g.used("thermometer", name, "used at the boxes"),
                    after="move2",
                ),
            ],
        ),
        [
            Addition(thing, room, always=name == "sodium chloride"),
            Addition(warm, box_room),
            Addition(cold, box_room),
        ],
    )


def _warmth(thing: Thing) -> float:
    return thing.temperature() if thing.material is not None else 0.0


def _thing(state: State, name: str) -> Thing:
    if name == "wire":
        return Wire(state)
    return UnknownSubstance(state, "B") if name.startswith("unknown") else make(state, name)
