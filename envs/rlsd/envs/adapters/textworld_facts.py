"""TextWorld's facts as short English sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_PLACES = {"at": "in the", "in": "in the", "on": "on the"}
_STATES = {
    "open", "closed", "locked", "roasted", "grilled", "fried", "burned", "raw", "cut", "uncut", "sliced", "diced",
    "chopped", "eaten",
}  # fmt: skip
_YOU = "P"
_HANDS = "I"


def sentence(fact: Any) -> str | None:
    """One fact in words; None for those that no player would say, such as the map.

    >>> from types import SimpleNamespace as N
    >>> sentence(N(name="in", arguments=[N(name="apple"), N(name="fridge")]))
    'the apple is in the fridge'
    """
    names = [argument.name for argument in fact.arguments]
    if len(names) == 2 and fact.name in _PLACES and all(names):
        thing, place = names
        if place == _HANDS:
            return f"you hold the {thing}"
        return f"you are in the {place}" if thing == _YOU else f"the {thing} is {_PLACES[fact.name]} {place}"
    if len(names) == 1 and fact.name in _STATES and names[0]:
        return f"the {names[0]} is {fact.name}"
    return None


def places(facts: Iterable[Any], plan: Sequence[str]) -> tuple[str, ...]:
    """Where you are, and where the things are that the plan names; in alphabetical order."""
    text = f" {' '.join(plan)} "
    wanted = [f for f in facts if f.name in _PLACES and len(f.arguments) == 2]
    named = [f for f in wanted if f.arguments[0].name == _YOU or f" {f.arguments[0].name} " in text]
    return tuple(sorted({said for f in named if (said := sentence(f))}, key=lambda said: (said[0] != "y", said)))


def changes(before: Iterable[Any], after: Iterable[Any]) -> tuple[str, ...]:
    """What is so now and was not before the last action."""
    old = {sentence(fact) for fact in before}
    return tuple(sorted({said for fact in after if (said := sentence(fact)) and said not in old}))
