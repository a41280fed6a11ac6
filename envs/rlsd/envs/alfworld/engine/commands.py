"""The admissible commands of a world in its current state, in the original's order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rlsd.envs.alfworld.engine.game import Game

CONSTANT = ("help", "inventory", "look")
"""Accepted in every state, without effect on it."""


def commands_of(
    game: Game,
    *,
    place: int,
    in_hand: int,
    opened: Collection[int],
    contents: Sequence[Collection[int]],
    lies_at: Sequence[Collection[int]],
) -> list[str]:
    """Every command that is accepted in a state, sorted.

    Args:
        place: where the player stands.
        in_hand: object in hand, −1 for none.
        opened: receptacles that are open.
        contents: objects by receptacle.
        lies_at: places by object.
    """
    commands = [*game.go[place], *CONSTANT]
    add = commands.append
    thing = game.objects[in_hand] if in_hand >= 0 else ""
    lamps: set[str] = set()  # an object may be in two receptacles here; list its command once
    for r in game.at_place[place]:
        name = game.receptacles[r]
        add("examine " + name)
        shut = r in game.openable and r not in opened
        if r in game.openable:
            add(("open " if shut else "close ") + name)
        for o in contents[r]:
            if o in game.toggleable:
                lamps.add("use " + game.objects[o])
            if in_hand < 0 and not shut and o in game.pickupable:
                add(f"take {game.objects[o]} from {name}")
        if in_hand < 0:
            continue
        if not shut and r in game.fits[in_hand]:
            add(f"move {thing} to {name}")
        if r in game.sinks and in_hand in game.cleanable:
            add(f"clean {thing} with {name}")
        if r in game.microwaves and in_hand in game.heatable:
            add(f"heat {thing} with {name}")
        if r in game.fridges and in_hand in game.coolable:
            add(f"cool {thing} with {name}")
    if in_hand >= 0:
        add("examine " + thing)
        if in_hand in game.knives:
            commands += [f"slice {game.objects[o]} with {thing}" for o in game.sliceable if place in lies_at[o]]
    commands += lamps
    commands.sort()
    return commands
