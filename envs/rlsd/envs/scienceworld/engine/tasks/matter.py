"""Changing the state of matter: melting, boiling, freezing."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Goal, Goals
from rlsd.envs.scienceworld.engine.world.containers import vessel
from rlsd.envs.scienceworld.engine.world.materials import GAS, LIQUID, SOLID
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

_SUBSTANCES = (
    "water", "water", "ice", "orange juice", "apple juice", "chocolate", "marshmallow", "ice cream", "soap", "rubber",
    "lead", "tin", "mercury", "gallium", "caesium",
)  # fmt: skip
"""The second water: the sink in the kitchen is broken."""
_POURED = ("orange juice", "apple juice", "ice cream", "lead", "tin", "mercury", "gallium", "caesium")
"""Those that come in a vessel at random, in the order in which the vessels are drawn."""
_VESSELS = ("metal pot", "glass cup", "plastic cup", "tin cup", "paper cup", "ceramic cup", "jug")
_PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ice": ("kitchen", ("freezer",)),
    "orange juice": ("kitchen", ("fridge",)),
    "apple juice": ("kitchen", ("fridge",)),
    "chocolate": ("kitchen", ("fridge",)),
    "marshmallow": ("kitchen", ("cupboard", "table", "desk")),
    "ice cream": ("kitchen", ("freezer",)),
    "soap": ("kitchen", ("cupboard", "table", "desk")),
}
_BENCH = ("workshop", ("table", "desk"))
HEATERS = ("stove", "blast furnace", "oven", "hot plate")


def change(verb: str, rank: int) -> Callable[[State, int], Assignment]:
    """Tasks about one substance; `rank`: which of the four types the original makes first."""

    def assign(state: State, variation: int) -> Assignment:
        at, broken_stove = divmod(variation, 2)
        name = _SUBSTANCES[at]
        state.random.seed(variation)
        state.random.skip(len(_POURED) * rank)
        broken = [("sink", "kitchen")] if at == 1 else []
        burning = "For compounds without a boiling point, combusting the substance is also acceptable. "
        return Assignment(
            f"Your task is to {verb} {name}. {burning if verb == 'boil' else ''}First, focus on the substance. Then, "
            "take actions that will cause it to change its state of matter. ",
            _goals(verb, name),
            _additions(state, name),
            broken + ([("stove", "kitchen")] if broken_stove else []),
        )

    return assign


def _additions(state: State, name: str) -> list[Addition]:
    if name == "water":
        return []
    thing: Thing = make(state, name)
    assert thing.material is not None
    if name == "ice":
        thing.material.temperature = -10.0
    if name in _POURED:
        state.random.skip(_POURED.index(name))
        thing = cup(state, thing)
    room, holders = _PLACES.get(name, _BENCH)
    metal = _SUBSTANCES.index(name) >= _SUBSTANCES.index("lead")
    return [Addition(thing, room, always=metal, holders=holders, name=name)]


def cup(state: State, thing: Thing) -> Thing:
    """A vessel at random with a thing in it, as warm as that."""
    made = vessel(state, _VESSELS[state.random.below(len(_VESSELS))])
    assert made.material is not None
    assert thing.material is not None
    made.material.temperature = thing.material.temperature
    made.put(thing)
    return made


def _goals(verb: str, name: str) -> Goals:
    states = {
        "melt": (SOLID, LIQUID),
        "boil": (LIQUID, GAS),
        "freeze": (LIQUID, SOLID),
    }
    ordered = [Goal("focus on substance", g.named(name), asks=name)]
    if verb in states:
        first, last = states[verb]
        text = "substance is in a gaseous state (or combusting)" if last == GAS else f"substance is in a {last} state"
        ordered.append(Goal(f"substance is in a {first} state", g.in_state(first), asks=first))
        ordered.append(Goal(text, g.in_state(last, or_burning=last == GAS), asks=last))
    else:
        ordered += [Goal("", g.any_state), Goal("", g.other_state)]
    optional = [
        Goal(f"be in same location as {name}", g.in_room_with(name)),
        Goal("have substance alone in a single container", g.alone_in_one((name,))),
    ]
    if verb != "freeze":
        optional += heater_goals()
        optional += [Goal(f"have object on heater ({name})", g.in_container(name)) for name in (*HEATERS, "fire pit")]
    if verb not in ("melt", "boil"):
        optional += [
            Goal(f"have object in cooler ({cooler})", g.in_container(cooler)) for cooler in ("fridge", "freezer")
        ]
    if verb != "freeze":
        degrees = 20 if verb in states else 10
        optional.append(Goal(f"heat object by at least {degrees}C", g.warmer(degrees)))
    if verb not in ("melt", "boil"):
        degrees = 5 if verb in states else 10
        optional.append(Goal(f"cool object by at least {degrees}C", g.warmer(-degrees)))
    return Goals(ordered, optional)


def heater_goals() -> list[Goal]:
    """Make something hot."""
    return [
        *(Goal(f"activate heater ({name})", g.switched(name, True)) for name in HEATERS),
        Goal("have lighter in inventory", g.holds("inventory", "lighter")),
        Goal("move wood into fire pit", g.holds("fire pit", "wood"), key="wood"),
        Goal("ignite wood", g.on_fire("wood"), after="wood"),
    ]
