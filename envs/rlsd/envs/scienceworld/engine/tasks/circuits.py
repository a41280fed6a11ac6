"""Circuits: powering a component, and finding out whether something conducts electricity."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks import wired as w
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Goal, Goals
from rlsd.envs.scienceworld.engine.world.containers import AnswerBox, vessel
from rlsd.envs.scienceworld.engine.world.devices import Shovel
from rlsd.envs.scienceworld.engine.world.documents import book
from rlsd.envs.scienceworld.engine.world.electric import FuelGenerator, LightBulb, Motor, OutdoorGenerator
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import UnknownSubstance, make
from rlsd.envs.scienceworld.engine.world.thing import Thing

_ROOM = "workshop"
_PARTS = 5
_LETTERS = "BCDEFGHJKLMNOPQRSTUVWXYZ"
_DRAWS_BEFORE_UNKNOWN = 32
"""Random numbers that the original draws for the states of matter, before it draws which substances conduct."""
_BOXES = ("red", "green", "blue", "orange", "yellow", "purple")
_TESTED: dict[str, Callable[[State], Thing] | None] = {
    "sodium chloride": lambda state: make(state, "sodium chloride"),
    "water": None,
    "plastic fork": lambda state: make(state, "plastic fork"),
    "metal fork": lambda state: make(state, "metal fork"),
    "apricot": lambda state: make(state, "apricot"),
    "shovel": Shovel,
    "glass jar": lambda state: vessel(state, "glass jar"),
    "metal pot": lambda state: vessel(state, "metal pot"),
    "book (The Foundations of the Origin of Species)": lambda state: book(state, "Origin of Species"),
    "paper clip": lambda state: make(state, "paper clip"),
    "wood block": lambda state: make(state, "wood block"),
    "aluminum foil": lambda state: make(state, "aluminum foil"),
}
"""What is tested, with how it is made; water has to be found."""
_CONDUCTIVE = ("metal fork", "shovel", "metal pot", "paper clip", "aluminum foil")


def _part(state: State, at: int) -> Thing:
    """What is to be powered."""
    return LightBulb(state, ("red", "green", "blue")[at]) if at < 3 else Motor(state, ("motor", "buzzer")[at - 3])


def _always() -> Goal:
    return Goal("move to a new location", g.moved_on())


def _connected(name: str, capital: bool = False) -> list[Goal]:
    begin = "Connect" if capital else "connect"
    return [
        Goal("be in same location as part to power", g.in_room_with(name)),
        Goal(f"{begin} the task object's (terminal1/anode) to a wire", w.on_wire(name, 0)),
        Goal(f"{begin} the task object's (terminal2/cathode) to a wire", w.on_wire(name, 1)),
    ]


_PARTIAL = "ask object is at least partially connected to"


def power(state: State, variation: int) -> Assignment:
    """Turn a component on."""
    name, additions, _ = _powered(state, variation)
    return Assignment(
        f"Your task is to turn on the {name}. First, focus on the {name}. Then, create an electrical circuit that "
        "powers it on. ",
        Goals(
            [Goal("focus on task object", g.named(name), asks=name), Goal("power task object", w.running(name))],
            [
                _always(),
                *_connected(name, capital=True),
                Goal(f"T{_PARTIAL} power source through wire", w.to_source(name)),
            ],
        ),
        additions,
    )


def power_by_kind(state: State, variation: int) -> Assignment:
    """Turn a component on, by a renewable or by a nonrenewable source."""
    name, additions, sources = _powered(state, variation)
    kind, source = ("nonrenewable", sources[1]) if variation % 2 else ("renewable", sources[0])
    return Assignment(
        f"Your task is to turn on the {name} by powering it using a {kind} power source. First, focus on the {name}. "
        "Then, create an electrical circuit that powers it on. ",
        Goals(
            [
                Goal("focus on task object", g.named(name), asks=name),
                Goal("power task object", w.running(name)),
                Goal("use correct power source", w.powered_by(source), asks=source),
            ],
            [
                _always(),
                *_connected(name),
                Goal(f"t{_PARTIAL} power source through wire", w.to_source(name, source)),
            ],
        ),
        additions,
    )


def _powered(state: State, variation: int) -> tuple[str, list[Addition], tuple[str, str]]:
    """The component to power, what is added to the room, and the renewable and the other source there."""
    at, sources = divmod(variation, 4)
    parts = [_part(state, i) for i in range(_PARTS)]
    outdoor = OutdoorGenerator(state, ("solar panel", "wind generator")[sources // 2])
    fuel = FuelGenerator(state, ("gas generator", "nuclear generator")[sources % 2])
    things: list[Thing] = [*parts, outdoor, fuel]
    return parts[at].name, [Addition(thing, _ROOM) for thing in things], (outdoor.name, fuel.name)


@lru_cache(maxsize=1)
def _known() -> tuple[tuple[str, str], ...]:
    """Substances with their rooms, by name."""
    places = [(name, room) for room in (_ROOM, "kitchen", "living room") for name in _TESTED]
    return tuple(sorted(places, key=lambda place: place[0]))


def test_known(state: State, variation: int) -> Assignment:
    """Does a thing conduct? It lies in one of three rooms."""
    at, rest = divmod(variation, _PARTS * (len(_BOXES) - 1))
    name, room = _known()[at]
    part, boxes = _part(state, rest // (len(_BOXES) - 1)), _two_boxes(state, rest)
    maker = _TESTED[name]
    additions = [Addition(thing, _ROOM) for thing in (part, *boxes)]
    if maker is not None:
        additions.append(Addition(maker(state), room, always=True))
    return _sorting(name, room, additions, boxes, name in _CONDUCTIVE)


def test_unknown(state: State, variation: int) -> Assignment:
    """Does an unknown substance conduct?"""
    at, rest = divmod(variation, _PARTS * (len(_BOXES) - 1))
    state.random.seed(variation)
    state.random.skip(_DRAWS_BEFORE_UNKNOWN + at)
    conducts = state.random.coin()
    part, boxes = _part(state, rest // (len(_BOXES) - 1)), _two_boxes(state, rest)
    unknown = UnknownSubstance(state, _LETTERS[at])
    assert unknown.material is not None
    unknown.material.conductive = conducts
    additions = [Addition(thing, _ROOM) for thing in (part, unknown, *boxes)]
    return _sorting(unknown.name, _ROOM, additions, boxes, conducts)


def _two_boxes(state: State, rest: int) -> tuple[Thing, Thing]:
    """For what conducts, and for what does not."""
    color = rest % (len(_BOXES) - 1)
    return AnswerBox(state, _BOXES[color]), AnswerBox(state, _BOXES[color + 1])


def _sorting(name: str, room: str, additions: list[Addition], boxes: tuple[Thing, Thing], conducts: bool) -> Assignment:
    yes, no = (box.name for box in boxes)
    right, wrong = (yes, no) if conducts else (no, yes)
    return Assignment(
        f"Your task is to determine if {name} is electrically conductive. The {name} is located around the {room}. "
        f"First, focus on the {name}. If it is electrically conductive, place it in the {yes}. If it is electrically "
        f"nonconductive, place it in the {no}. ",
        Goals(
            [
                Goal("focus on task object", g.named(name), asks=name),
                Goal("put object in correct container", g.in_container(right, but_not=wrong), box=lambda _: right),
            ],
            [
                _always(),
                *_connected(name),
                Goal(f"t{_PARTIAL} power source through wire", w.to_source(name)),
                Goal(f"t{_PARTIAL} a light bulb through wire", w.to_light(name)),
                Goal("light bulb is at least partially connected to a power source through wire", w.light_to_source()),
            ],
        ),
        additions,
    )
