"""Mixing paint: secondary and tertiary colors."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Goal, Goals
from rlsd.envs.scienceworld.engine.world.containers import Cabinet, Table, vessel
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

_DRAWS_BEFORE_PAINT = 696
_DRAWS_OF_MIXERS = 2
"""Random numbers that the original draws before, and for the vessel to mix in."""
_PAINTS = (
    ("green paint", "green-blue paint", ("blue paint", "yellow paint"), ("green paint", "blue paint")),
    ("green paint", "yellow-green paint", ("blue paint", "yellow paint"), ("green paint", "yellow paint")),
    ("orange paint", "red-orange paint", ("red paint", "yellow paint"), ("orange paint", "red paint")),
    ("orange paint", "yellow-orange paint", ("red paint", "yellow paint"), ("orange paint", "yellow paint")),
    ("violet paint", "violet-red paint", ("red paint", "blue paint"), ("violet paint", "red paint")),
    ("violet paint", "blue-violet paint", ("red paint", "blue paint"), ("violet paint", "blue paint")),
)
"""Secondary and tertiary color, and what each is mixed from."""
_PAINT_ROOMS = ("art studio", "workshop")


def _paint(state: State, variation: int, draws: int) -> tuple[int, str, list[Addition]]:
    """What is asked for, where more paint is, and what is added there: cups in a cupboard, in a closet or on a desk.

    The same three paints are poured from the first to the last, so that only the cups on the desk are full.
    """
    colors, place = divmod(variation, 6)
    room = _PAINT_ROOMS[place // 3]
    state.random.seed(variation)
    state.random.skip(draws)
    mixers = state.random.shuffled([vessel(state, name) for name in ("glass cup", "bowl", "jug")])
    paints = [make(state, f"{color} paint") for color in ("red", "blue", "yellow")]
    stores: list[Thing] = [
        Cabinet(state, "cupboard", ("cupboard", "wood cupboard"), drawer=True),
        Cabinet(state, "closet", ("closet", "wood closet")),
        Table(state, "desk", drawer=True),
    ]
    for store, cup in zip(stores, ("wood cup", "glass cup", "tin cup")):
        for paint in paints:
            store.put(vessel(state, cup, paint))
    stores[0].name, stores[1].name = "paint cupboard", "paint closet"
    additions = [Addition(stores[place % 3], room)]
    if room != "art studio":
        additions.append(Addition(mixers[place % 3], room))
    return colors, room, additions


def _near(names: tuple[str, ...], what: str = "", after: str = "") -> list[Goal]:
    return [
        Goal(f"be in same location as {what}{name}", g.in_room_with(name), key=f"{what}{name}", after=after)
        for name in names
    ]


def secondary(state: State, variation: int) -> Assignment:
    """Mix two primary colors."""
    colors, _, additions = _paint(state, variation, _DRAWS_BEFORE_PAINT)
    color, _, inputs, _ = _PAINTS[colors]
    return Assignment(
        f"Your task is to use chemistry to create {color}. When you are done, focus on the {color}.",
        Goals(
            [Goal(f"focus on the mixing result ({color})", g.named(color), asks=color)],
            [
                Goal("move to a new location", g.moved_on()),
                *_near(inputs),
                Goal("have all ingredients alone in a single container", g.alone_in_one(inputs)),
                Goal(f"be in same location as {color}", g.in_room_with(color)),
            ],
        ),
        additions,
    )


def tertiary(state: State, variation: int) -> Assignment:
    """Mix two primary colors, then the result with one of them."""
    colors, room, additions = _paint(state, variation, _DRAWS_BEFORE_PAINT + _DRAWS_OF_MIXERS)
    second, third, inputs, more = _PAINTS[colors]
    return Assignment(
        f"Your task is to use chemistry to create {third}. When you are part-way done, focus on the intermediate "
        f"(secondary color) paint you created.  When you are completely done, focus on the {second}.",
        Goals(
            [
                Goal(f"focus on the intermediate mixing result ({second})", g.named(second), defocus=True, asks=second),
                Goal(f"focus on the final mixing result ({third})", g.named(third), asks=third),
            ],
            [
                Goal("move to a new location (unless starting in task location)", g.moved_on(unless_in=room)),
                Goal("move to the location of the paint", g.at_location(room)),
                *_near(inputs),
                Goal("have all ingredients (secondary) alone in a single container", g.alone_in_one(inputs)),
                Goal(f"be in same location as (secondary) {second}", g.in_room_with(second), key="secondary"),
                *_near(more, "(tertiary) ", "secondary"),
                Goal("have all ingredients (tertiary) alone in a single container", g.alone_in_one(more)),
                Goal(f"be in same location as {third}", g.in_room_with(third)),
            ],
        ),
        additions,
    )
