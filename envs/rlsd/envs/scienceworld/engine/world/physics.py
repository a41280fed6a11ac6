"""One tick: fire, heat, states of matter, electricity; in the order in which the original computes them."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.electric import conduct
from rlsd.envs.scienceworld.engine.world.materials import GAS, LIQUID, SOLID, Material
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

RATE = 0.10
"""Share of a temperature difference that passes in a tick."""
MOST = 1000.0
"""Degrees that pass in a tick at most."""
FLAME = 200.0
"""A burning thing is so much hotter than its combustion point."""
_BARE = 2
"""Contents of an ordinary thing that holds nothing: its two terminals."""


def advance(thing: Thing) -> None:
    """What happens to any thing in a tick, then to all that is in it; once a tick."""
    state = thing.state
    if thing.ticked == state.now:
        return
    stuff = thing.material
    if stuff is not None and (stuff.burning or stuff.temperature >= stuff.combustion_point):
        _burn(thing, stuff)
    inside = thing.inside.items()
    if len(inside) > _BARE or thing.terminals is None:
        exchange(inside, stuff)
    if stuff is not None:
        change_state(thing, stuff)
    if state.wired and thing.terminals is not None:
        conduct(thing)
    if len(inside) > _BARE or thing.terminals is None:
        for held in thing.inside.items():
            held.tick()
    for portal in thing.portals.items():
        portal.tick()
    thing.ticked = state.now


def exchange(inside: list[Thing], stuff: Material | None) -> None:
    """Heat passes between a thing and its contents, then between its contents, each with all before it.

    Of two things that touch, the second takes its share of what the first has become.
    """
    stuffs = [thing.material for thing in inside if thing.material is not None]
    temperatures = [one.temperature for one in stuffs]
    rates = [one.heat_conductivity for one in stuffs]
    if stuff is not None:
        stuff.temperature = _touch_all(stuff.temperature, stuff.heat_conductivity, temperatures, rates, len(stuffs))
    for i in range(1, len(stuffs)):
        temperatures[i] = _touch_all(temperatures[i], rates[i], temperatures, rates, i)
    for one, temperature in zip(stuffs, temperatures, strict=True):
        one.temperature = temperature


def _touch_all(one: float, rate: float, others: list[float], rates: list[float], count: int) -> float:
    """Let one thing touch the first `count` others in turn, whose temperatures change; its own afterwards."""
    for i in range(count):
        other = others[i]
        if other != one:
            least = rates[i]
            if rate < least:
                least = rate
            step = (other - one) * least * RATE
            one += step if -MOST <= step <= MOST else _clipped(step)
            step = (one - other) * least * RATE
            others[i] = other + (step if -MOST <= step <= MOST else _clipped(step))
    return one


def _clipped(step: float) -> float:
    """No more than MOST degrees at once."""
    return step if abs(step) <= MOST else MOST if step > 0 else -MOST


def heat_up(thing: Thing, source: float | None) -> None:
    """By a heat source it lies in or on, at `source` degrees; None: off."""
    stuff = thing.material
    if source is not None and stuff is not None and stuff.temperature < source:
        stuff.temperature += _clipped((source - stuff.temperature) * RATE)


def cool_down(thing: Thing, source: float | None) -> None:
    stuff = thing.material
    if source is not None and stuff is not None and stuff.temperature > source:
        stuff.temperature += _clipped((source - stuff.temperature) * RATE)


def state_at(stuff: Material, temperature: float) -> str:
    """The state of matter at a temperature."""
    if temperature < stuff.melting_point:
        return SOLID
    return GAS if temperature > stuff.boiling_point else LIQUID


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
