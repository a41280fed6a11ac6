"""What comes of mixing the contents of a container."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.documents import Paper
from rlsd.envs.scienceworld.engine.world.materials import LIQUID, SOLID
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

_STATES = {"water": LIQUID, "sodium chloride": SOLID}
"""The state in which an ingredient reacts; others react in any, paints as liquids."""
_PAINTS = (
    "red paint", "blue paint", "yellow paint", "violet paint", "green paint", "orange paint", "yellow-orange paint",
    "red-orange paint", "violet-red paint", "blue-violet paint", "green-blue paint", "green-yellow paint",
    "brown paint",
)  # fmt: skip
_PAIRS: tuple[tuple[str, str, str, str], ...] = (
    ("water", "sodium chloride", "salt water", "Sodium chloride and water mix to produce salt water."),
    ("water", "soap", "soapy water", "Soap and water mix to produce soapy water."),
    ("water", "sugar", "sugar water", "Sugar and water mix to produce sugar water."),
    ("water", "flour", "dough", "Flour and water mix to produce dough."),
    ("chocolate", "marshmallow", "smores", "Chocolate and marshmallow mix to produce smores."),
    ("water", "iron block", "rust", "Iron block and water mix to produce rust."),
    (
        "sodium bicarbonate", "acetic acid", "sodium acetate",
        "Sodium bicarbonate and acetic acid mix to produce sodium acetate.",
    ),
    ("bread", "peanut", "peanut butter sandwich", "Bread and peanuts mix to produce a peanut butter sandwich."),
    ("bread", "jam", "jam sandwich", "Bread and peanuts mix to produce a jam sandwich."),
    ("bread", "banana", "banana sandwich", "Bread and peanuts mix to produce a banana sandwich."),
    *(
        ("paper", f"{color} paint", f"{color} paper", f"Paper and blue paint mix to produce {color} paper.")
        for color in ("red", "green", "blue", "orange", "yellow", "violet")
    ),
    ("red paint", "blue paint", "violet paint", "Red and blue paint mix to produce violet paint."),
    ("blue paint", "yellow paint", "green paint", "Blue and yellow paint mix to produce green paint."),
    ("yellow paint", "red paint", "orange paint", "Yellow and red paint mix to produce orange paint."),
    (
        "yellow paint", "orange paint", "yellow-orange paint",
        "Yellow and orange paint mix to produce yellow-orange paint.",
    ),
    ("orange paint", "red paint", "red-orange paint", "Red and orange paint mix to produce red-orange paint."),
    ("red paint", "violet paint", "violet-red paint", "Violet and red paint mix to produce violet-red paint."),
    ("violet paint", "blue paint", "blue-violet paint", "Blue and violet paint mix to produce blue-violet paint."),
    ("blue paint", "green paint", "green-blue paint", "Blue and green paint mix to produce blue green paint."),
    ("green paint", "yellow paint", "yellow-green paint", "Green and yellow paint mix to produce yellow-green paint."),
)  # fmt: skip
"""Two ingredients, what they make, what is said; the first pair that is there reacts."""
_TRIPLES: tuple[tuple[str, str, str, str, str], ...] = (
    ("peanut", "almond", "cashew", "mixed nuts", "Peanuts, almonds, and cashews mix to produce mixed nuts."),
    ("apple", "orange", "banana", "fruit salad", "Apples, oranges, and bananas mix to produce fruit salad."),
    (
        "bread", "peanut", "jam", "peanut butter with jam sandwich",
        "Bread and peanuts and jam mix to produce a peanut butter with jam sandwich.",
    ),
    (
        "bread", "peanut", "banana", "peanut butter with banana sandwich",
        "Bread and peanuts and jam mix to produce a peanut butter with banana sandwich.",
    ),
)  # fmt: skip
_BROWN = "The paints mix to produce brown paint."


def mix(container: Thing) -> str:
    """Mix what a container holds; says what came of it, "" where there was nothing to mix."""
    if len(container.inside) <= 1:
        return ""
    contents = container.visible()
    if not contents:
        return "That container is empty, so there are no items to mix."
    if len(contents) == 1:
        return f"There is only one thing ({contents[0].shown_name()})"
    recipes: tuple[tuple[str, ...], ...] = _PAIRS if len(contents) == 2 else _TRIPLES if len(contents) == 3 else ()
    for *ingredients, product, said in recipes:
        found = [_find(container, name) for name in ingredients]
        if all(thing is not None for thing in found):
            return _react(container, [thing for thing in found if thing is not None], product, said)
    paints = [paint for name in _PAINTS if (paint := _find(container, name)) is not None]
    if 2 <= len(contents) <= 4 and len(paints) == len(contents):
        return _react(container, paints, "brown paint", _BROWN)
    return f"Mixing the contents of the {container.shown_name()} does not appear to produce anything new."


def recipe(product: str) -> tuple[str, ...] | None:
    """The ingredients of a product, two or three; None: nothing makes it."""
    recipes: tuple[tuple[str, ...], ...] = (*_PAIRS, *_TRIPLES)
    return next((tuple(ingredients) for *ingredients, made, _ in recipes if made == product), None)


def _react(container: Thing, used: list[Thing], product: str, said: str) -> str:
    for thing in used:
        thing.delete()
    state, color = container.state, product.removesuffix(" paper")
    container.put(make(state, product) if color == product else Paper(state, color))
    return said


def _find(container: Thing, name: str) -> Thing | None:
    """An ingredient by its name, or by its substance where it reacts in one state only."""
    state = LIQUID if name in _PAINTS else _STATES.get(name, "")
    for thing in container.inside.items():
        stuff = thing.material
        if thing.name == name and (not state or (stuff is not None and stuff.state == state)):
            return thing
        if state and stuff is not None and stuff.substance == name and stuff.state == state:
            return thing
    return None
