"""Carrying, pouring, dunking, eating: when it is refused, and what it does."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.tasks.episode import Episode
from rlsd.envs.scienceworld.engine.world.materials import GAS, LIQUID, SOLID
from rlsd.envs.scienceworld.engine.world.thing import Thing


def refuse_eat(episode: Episode, food: Thing) -> str | None:
    return None if food.edible else f"The {food.name} is not edible."


def eat(episode: Episode, food: Thing) -> str:
    if (refusal := refuse_eat(episode, food)) is not None:
        return refusal
    food.leave()
    return f"The {food.name} was delicious."


def _refuse_fluid(thing: Thing) -> str | None:
    if thing.material is not None and thing.material.state == LIQUID:
        return (
            "You can't pick up a liquid directly.  Try pouring it from one container to another, or dunking empty "
            "containers into containers filled with the liquid."
        )
    if thing.material is not None and thing.material.state == GAS:
        return "You can't pick up a gas directly."
    return None


def refuse_move(thing: Thing, goal: Thing) -> str | None:
    if not thing.movable:
        return f"The {thing.name} is not moveable."
    if thing is goal:
        return "You can't move something into itself."
    if (refusal := _refuse_fluid(thing)) is not None:
        return refusal
    if goal.holder is None:
        return "That can't be moved there."
    if not goal.holder.is_open:
        return f"That can't be moved there, because the {goal.name} isn't open."
    return None


def move(episode: Episode, thing: Thing, goal: Thing) -> str:
    if (refusal := refuse_move(thing, goal)) is not None:
        return refusal
    goal.put(thing)
    text = ""
    if thing.connected():
        text = f"(disconnecting {thing.name})"
        thing.disconnect()
    return f"{text}You move the {thing.name} to the {goal.name}."


def refuse_pour_out(thing: Thing) -> str | None:
    """Why a thing cannot be poured, whatever into."""
    pours_out = thing.holder is not None and thing.holder.holds
    if not thing.movable:
        return f"The {thing.name} is not moveable."
    if not pours_out:
        place = thing.place
        if place is None:
            return f"The {thing.name} can't be poured out because it doesn't appear to be in a container."
        if not place.movable:
            return f"The {place.name} the {thing.name} is in is not movable."
        if thing.material is not None and thing.material.state == SOLID:
            return "I'm not sure how to pour a solid. "
        if thing.material is not None and thing.material.state == GAS:
            return "You can't pour a gas directly. "
    elif thing.holder is not None and not thing.holder.is_open:
        return f"The {thing.name} can't be poured out, because it's not open."
    return None


def refuse_pour(thing: Thing, goal: Thing) -> str | None:
    if (refusal := refuse_pour_out(thing)) is not None:
        return refusal
    if goal.holder is None:
        return "That can't be moved there, because it's not a container."
    if not goal.holder.is_open:
        return f"That can't be moved there, because the {goal.name} isn't open."
    if thing.holder is not None and thing.holder.holds and not len(thing.inside):
        return f"The {thing.name} is empty, so there's nothing to pour."
    return None


def pour(episode: Episode, thing: Thing, goal: Thing) -> str:
    if (refusal := refuse_pour(thing, goal)) is not None:
        return refusal
    if thing is goal:
        return "You can't move something into itself."
    pours_out = thing.holder is not None and thing.holder.holds
    text = ""
    for poured in [held for held in thing.inside.items() if held.movable] if pours_out else [thing]:
        goal.put(poured)
        if poured.connected():
            text += f"(disconnecting {poured.name})\n"
            poured.disconnect()
    what = f"contents of the {thing.name}" if pours_out else thing.name
    return f"{text}You pour the {what} into the {goal.name}."


def liquids(thing: Thing) -> list[Thing]:
    return [held for held in thing.visible() if held.material is not None and held.material.state == LIQUID]


def refuse_dunk_into(thing: Thing) -> str | None:
    """Why a container cannot be dunked into any liquid."""
    if not thing.movable:
        return f"The {thing.name} is not moveable."
    if thing.holder is not None and not thing.holder.is_open:
        return f"The {thing.name} is not open."
    if thing.holder is None or not thing.holder.holds:
        return f"The {thing.name} is not a container."
    return None


def refuse_dunk_from(thing: Thing) -> str | None:
    held = liquids(thing)
    if not held:
        return f"The {thing.name} does not contain any liquids to dunk into."
    if not any(liquid.movable for liquid in held):
        return f"The liquids in {thing.name} aren't able to move."
    return None


def dunk(episode: Episode, dunked: Thing, source: Thing) -> str:
    refusal = "You can't dunk something into itself." if dunked is source else None
    refusal = refusal or refuse_dunk_into(dunked) or refuse_dunk_from(source)
    if refusal is not None:
        return refusal
    text, moved = "", [liquid for liquid in liquids(source) if liquid.movable]
    for liquid in moved:
        dunked.put(liquid)
        if liquid.connected():
            text += f"(disconnecting {liquid.name})"
            liquid.disconnect()
    names = ", ".join(liquid.name for liquid in moved)
    return f"{text}You dunk the {dunked.name} in the {source.name}, moving the liquids ({names}) to the {dunked.name}."
