"""Which commands a world accepts in its present state: the list of admissible commands, as the original orders it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlsd.envs.alfworld.engine.world import World

CONSTANT = ("help", "inventory", "look")
"""Accepted in every state, and change nothing."""


def commands_of(world: World) -> list[str]:
    """Every command the world would accept now, sorted."""
    game, held = world.game, world.held
    commands = [*game.go[world.place], *CONSTANT]
    add = commands.append
    thing = game.objects[held] if held >= 0 else ""
    lamps: set[str] = set()  # a thing may be in two receptacles here; its command is listed once
    for r in game.at_place[world.place]:
        name = game.receptacles[r]
        add("examine " + name)
        shut = r in game.openable and r not in world.opened
        if r in game.openable:
            add(("open " if shut else "close ") + name)
        for o in world.contents[r]:
            if o in game.toggleable:
                lamps.add("use " + game.objects[o])
            if held < 0 and not shut and o in game.pickupable:
                add(f"take {game.objects[o]} from {name}")
        if held < 0:
            continue
        if not shut and r in game.fits[held]:
            add(f"move {thing} to {name}")
        if r in game.sinks and held in game.cleanable:
            add(f"clean {thing} with {name}")
        if r in game.microwaves and held in game.heatable:
            add(f"heat {thing} with {name}")
        if r in game.fridges and held in game.coolable:
            add(f"cool {thing} with {name}")
    if held >= 0:
        add("examine " + thing)
        if held in game.knives:
            here = world.place
            commands += [f"slice {game.objects[o]} with {thing}" for o in game.sliceable if here in world.lies_at[o]]
    commands += lamps
    commands.sort()
    return commands
