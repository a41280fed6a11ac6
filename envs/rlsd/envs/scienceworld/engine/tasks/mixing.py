"""Chemistry by a recipe."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition, Assignment
from rlsd.envs.scienceworld.engine.tasks.episode import Goal, Goals
from rlsd.envs.scienceworld.engine.world.documents import Paper, Recipe
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make

_PRODUCTS: tuple[tuple[tuple[str, tuple[str, ...]], ...], ...] = (
    (
        ("salt water", ("sodium chloride", "water")),
        ("soapy water", ("soap", "water")),
        ("mixed nuts", ("peanut", "almond", "cashew")),
        ("sodium acetate", ("acetic acid", "sodium bicarbonate")),
        ("banana sandwich", ("banana", "bread")),
        ("blue paper", ("paper", "blue paint")),
        ("peanut butter sandwich", ("peanut", "bread")),
        ("peanut butter with jam sandwich", ("peanut", "jam", "bread")),
    ),
    (
        ("smores", ("chocolate", "marshmallow")),
        ("dough", ("flour", "water")),
        ("fruit salad", ("apple", "orange", "banana")),
        ("jam sandwich", ("jam", "bread")),
    ),
    (
        ("sugar water", ("sugar", "water")),
        ("peanut butter with banana sandwich", ("peanut", "banana", "bread")),
        ("rust", ("iron block", "water")),
        ("red paper", ("paper", "red paint")),
    ),
)
"""Product and ingredients of the splits train, valid and test."""
_ROOMS = ("kitchen", "workshop")
_FOUND = ("water", "blue paint", "red paint")
"""Ingredients that have to be found elsewhere."""
_VARIATIONS = [(task, room) for split in _PRODUCTS for room in _ROOMS for task in split]


def mix(state: State, variation: int) -> Assignment:
    """Make a substance by its recipe."""
    (product, ingredients), room = _VARIATIONS[variation]
    things = [Paper(state) if name == "paper" else make(state, name) for name in ingredients if name not in _FOUND]
    return Assignment(
        f"Your task is to use chemistry to create the substance '{product}'. A recipe and some of the ingredients "
        f"might be found near the {room}. When you are done, focus on the {product}.",
        Goals(
            [Goal(f"focus on result chemical ({product})", g.named(product), asks=product)],
            [
                Goal("move to a new location", g.moved_on()),
                *(Goal(f"be in same location as {name}", g.in_room_with(name)) for name in ingredients),
                Goal("have all ingredients alone in a single container", g.alone_in_one(ingredients)),
                Goal(f"be in same location as {product}", g.in_room_with(product)),
                Goal("read recipe", g.read("recipe")),
            ],
        ),
        [Addition(thing, room) for thing in (*things, Recipe(state, product, ingredients))],
    )
