"""Heat passes between things that touch; states of matter follow from temperatures."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.materials import GAS, LIQUID, SOLID, Material
from rlsd.envs.scienceworld.engine.world.thing import Thing

RATE = 0.10
"""Share of a temperature difference that passes in a tick."""
MOST = 1000.0
"""Degrees that pass in a tick at most."""


def exchange(inside: list[Thing], stuff: Material | None) -> None:
    """Heat passes between a thing and its contents, then between its contents, each with all before it.

    Of two things that touch, the second takes its share of what the first has become.
    """
    touch([thing.material for thing in inside if thing.material is not None], stuff)


def touch(stuffs: list[Material], stuff: Material | None) -> None:
    """As `exchange`, by what the contents are made of."""
    temperatures = [one.temperature for one in stuffs]
    if stuff is None:
        if len(stuffs) < 2 or temperatures.count(temperatures[0]) == len(stuffs):
            return
    elif temperatures.count(stuff.temperature) == len(stuffs):
        return
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
            one += step if -MOST <= step <= MOST else clipped(step)
            step = (one - other) * least * RATE
            others[i] = other + (step if -MOST <= step <= MOST else clipped(step))
    return one


def clipped(step: float) -> float:
    """No more than MOST degrees at once."""
    return step if abs(step) <= MOST else MOST if step > 0 else -MOST


def heat_up(thing: Thing, source: float | None) -> None:
    """By a heat source it lies in or on, at `source` degrees; None: off."""
    stuff = thing.material
    if source is not None and stuff is not None and stuff.temperature < source:
        stuff.temperature += clipped((source - stuff.temperature) * RATE)


def cool_down(thing: Thing, source: float | None) -> None:
    stuff = thing.material
    if source is not None and stuff is not None and stuff.temperature > source:
        stuff.temperature += clipped((source - stuff.temperature) * RATE)


def state_at(stuff: Material, temperature: float) -> str:
    """The state of matter at a temperature."""
    if temperature < stuff.melting_point:
        return SOLID
    return GAS if temperature > stuff.boiling_point else LIQUID


def keeps_state(stuff: Material, coldest: float, hottest: float) -> bool:
    """Whether it neither changes its state nor burns at any temperature between these two."""
    cold, hot = state_at(stuff, coldest), state_at(stuff, hottest)
    return cold == hot == stuff.state and not stuff.burning and stuff.combustion_point > hottest
