"""Rooms at rest: what is worked out late is what would have been worked out at once."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.house import build
from rlsd.envs.scienceworld.engine.world.physics import advance
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import Thing


def at_once(thing: Thing) -> None:
    """As `advance`, in a world that never rests."""
    thing.stirred = True
    advance(thing)


def house(*, rests: bool) -> Thing:
    return build(State(advance if rests else at_once), 7)[0]


def named(world: Thing, name: str, room: str = "kitchen") -> Thing:
    return next(t for t in world.deep() if t.name == name and _room(t) == room)


def _room(thing: Thing) -> str:
    room = thing.room()
    return room.name if room is not None else ""


def wait(world: Thing, ticks: int) -> None:
    for _ in range(ticks):
        world.state.now += 1
        world.tick()


def lived(world: Thing) -> list[tuple[str, float, str]]:
    """What is where and how warm after an hour in the kitchen."""
    wait(world, 12)
    named(world, "fridge").put(named(world, "apple"))
    wait(world, 9)
    stove = named(world, "stove")
    assert stove.device is not None
    stove.put(named(world, "metal pot"))
    stove.device.activated = True
    stove.stir()
    wait(world, 15)
    stove.device.activated = False
    stove.stir()
    wait(world, 30)
    return [(t.name, t.temperature(), t.material.state) for t in world.deep() if t.material is not None]


def test_temperatures_after_changes_are_those_of_a_world_that_never_rests() -> None:
    assert lived(house(rests=True)) == lived(house(rests=False))


def test_a_room_without_anything_to_do_rests_until_something_changes_in_it() -> None:
    world = house(rests=True)
    wait(world, 3)
    bedroom = next(room for room in world.inside.items() if room.name == "bedroom")
    assert bedroom.rest is not None
    table = next(thing for thing in bedroom.inside.items() if thing.name == "table")
    table.put(named(world, "apple"))
    assert bedroom.rest is None


def test_asking_for_one_temperature_works_out_what_is_due_and_lets_the_room_rest_on() -> None:
    world, busy = house(rests=True), house(rests=False)
    for one in (world, busy):
        wait(one, 20)
    soap = named(world, "soap")
    assert soap.material is not None
    late = soap.material.temperature
    assert soap.temperature() == named(busy, "soap").temperature() != late
    assert soap.room() is not None
    assert soap.room().rest is not None  # type: ignore[union-attr]
