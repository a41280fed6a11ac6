"""One tick: fire, heat, states of matter, electricity; in the order in which the original computes them."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.electric import conduct
from rlsd.envs.scienceworld.engine.world.heat import exchange, state_at
from rlsd.envs.scienceworld.engine.world.materials import LIQUID, Material
from rlsd.envs.scienceworld.engine.world.rest import BARE, rests
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

FLAME = 200.0
"""A burning thing is so much hotter than its combustion point."""


def advance(thing: Thing) -> None:
    """What happens to any thing in a tick, then to all that is in it; once a tick."""
    state = thing.state
    if thing.ticked == state.now:
        return
    if thing.is_location and rests(thing):
        thing.ticked = state.now
        return
    stuff = thing.material
    if stuff is not None and (stuff.burning or stuff.temperature >= stuff.combustion_point):
        _burn(thing, stuff)
    inside = thing.inside.items()
    if len(inside) > BARE or thing.terminals is None:
        exchange(inside, stuff)
    if stuff is not None:
        change_state(thing, stuff)
    if state.wired and thing.terminals is not None:
        conduct(thing)
    if len(inside) > BARE or thing.terminals is None:
        for held in thing.inside.items():
            held.tick()
    for portal in thing.portals.items():
        portal.tick()
    thing.ticked = state.now


def change_state(thing: Thing, stuff: Material, *, rename: bool = False) -> None:
    """Melt, freeze, boil or condense; the name may change with it."""
    state = state_at(stuff, stuff.temperature)
    if state != stuff.state or rename:
        stuff.state = state
        thing.changed()
        thing.name = stuff.names.get(state, thing.name)


def ignite(thing: Thing) -> str:
    """Set it on fire, if it can burn; says what happened."""
    stuff = thing.material
    if stuff is None:
        return "That is not flammable."
    if stuff.burning:
        return f"The {thing.name} is already on fire."
    if stuff.burn_ticks > 0:
        stuff.burning = stuff.burned = True
        thing.changed()
        return f"The {thing.name} catches fire."
    return f"The {thing.name} is not flammable."


def _burn(thing: Thing, stuff: Material) -> None:
    if stuff.temperature >= stuff.combustion_point and not stuff.burning:
        ignite(thing)
    if not stuff.burning or stuff.burn_ticks <= 0:
        return
    thing.changed()
    stuff.burn_ticks -= 1
    stuff.temperature = max(stuff.temperature, stuff.combustion_point + FLAME)
    if stuff.burn_ticks == 0:
        stuff.burning = False
        ash = make(thing.state, "ash")
        assert ash.material is not None
        ash.material.temperature = stuff.temperature
        if thing.place is not None:
            thing.place.put(ash)
        thing.delete(expel=True)
    around = [*thing.inside.items(), *(thing.place.inside.items() if thing.place is not None else ())]
    for other in dict.fromkeys(around):
        wet = other.material
        if wet is not None and wet.substance == "water" and wet.state == LIQUID:
            wet.temperature = stuff.temperature
            stuff.burning = False
            stuff.temperature = stuff.combustion_point - 10.0
            return
