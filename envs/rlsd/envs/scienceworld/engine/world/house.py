"""The house: ten rooms, furnished and connected in the order in which the original draws its random numbers."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.scienceworld.engine.world.agent import Agent
from rlsd.envs.scienceworld.engine.world.bees import Bee
from rlsd.envs.scienceworld.engine.world.containers import (
    Basin,
    Cabinet,
    Fountain,
    Seat,
    Table,
    bed,
    couch,
    vessel,
)
from rlsd.envs.scienceworld.engine.world.devices import (
    Axe,
    Cooler,
    Heater,
    Lighter,
    Plumbing,
    Shovel,
    StopWatch,
    Thermometer,
    Toilet,
)
from rlsd.envs.scienceworld.engine.world.documents import Picture, random_shelf
from rlsd.envs.scienceworld.engine.world.electric import Battery, LightBulb, Switch, Wire
from rlsd.envs.scienceworld.engine.world.places import Door, Location, Outside, Room, Universe
from rlsd.envs.scienceworld.engine.world.sewer import Sewer
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

_BULBS = ("red", "green", "blue", "yellow", "orange", "violet")
_WIRES = ("red", "green", "blue", "yellow", "orange", "black")
_PAINTS = ("red paint", "blue paint", "yellow paint")


def build(state: State, seed: int) -> tuple[Universe, Agent]:
    """The world of a variation before its task adds to it."""
    state.random.seed(seed)
    universe = Universe(state)
    sewer = Sewer(state)
    universe.put(sewer)
    rooms: dict[str, Location] = {}
    makers: tuple[Callable[[State, Thing], Location], ...] = (
        _kitchen, _living_room, _bedroom, _bathroom, _workshop, _greenhouse, _art_studio, _hallway, _outside, _foundry,
    )  # fmt: skip
    for maker in makers:
        room = maker(state, sewer)
        universe.put(room)
        rooms[room.name] = room
    shovel = Shovel(state)
    rooms["greenhouse" if state.random.below(2) == 1 else "outside"].put(shovel)
    for one, other in (
        ("kitchen", "hallway"), ("living room", "hallway"), ("bedroom", "hallway"), ("bathroom", "kitchen"),
        ("workshop", "hallway"), ("greenhouse", "hallway"), ("art studio", "hallway"), ("kitchen", "outside"),
        ("greenhouse", "outside"), ("foundry", "outside"),
    ):  # fmt: skip
        door = Door(state, rooms[one], rooms[other])
        rooms[one].add_portal(door)
        rooms[other].add_portal(door)
    agent = Agent(state)
    places = sorted(rooms)
    rooms[places[state.random.below(len(places))]].put(agent)
    return universe, agent


def _furnish(room: Location, *things: Thing) -> Location:
    for thing in things:
        room.put(thing)
    return room


def _kitchen(state: State, sewer: Thing) -> Location:
    room = Room(state, "kitchen")
    room.put(Plumbing(state, "sink", "steel", sewer))
    room.put(Heater(state, "stove", "stove", 260.0, opens=False))
    fridge = Cooler(state, "fridge", "fridge", 2.0)
    room.put(fridge)
    room.put(Cooler(state, "freezer", "freezer", -18.0))
    room.put(Heater(state, "oven", "oven", 540.0, opens=True))
    cupboard = Cabinet(state, "cupboard", ("cupboard", "wood cupboard"), drawer=True)
    room.put(cupboard)
    for name in ("metal pot", "tin cup", "ceramic cup"):
        cupboard.put(vessel(state, name))
    counter = Table(state, "counter", drawer=True)
    room.put(counter)
    bowl = vessel(state, "bowl")
    counter.put(bowl)
    for fruit in ("apple", "banana", "orange", "potato"):
        bowl.put(make(state, fruit))
    cup = vessel(state, "wood cup")
    cup.put(make(state, "orange juice"))
    fridge.put(cup)
    room.put(Thermometer(state))
    room.put(Picture(state))
    table = Table(state, "table")
    room.put(table)
    table.put(vessel(state, "glass cup"))
    room.put(Seat(state, "chair"))
    room.put(Lighter(state))
    jar = vessel(state, "glass jar")
    jar.put(make(state, "sodium chloride"))
    room.put(jar)
    room.put(make(state, "soap"))
    room.put(StopWatch(state))
    return room


def _living_room(state: State, sewer: Thing) -> Location:
    room = Room(state, "living room")
    room.put(couch(state))
    room.put(Seat(state, "chair"))
    drawn = state.random.below(3)
    room.put(
        Table(state, "table") if drawn == 0
        else Table(state, "table", "steel") if drawn == 1
        else Table(state, "desk", drawer=True)
    )  # fmt: skip
    room.put(Picture(state))
    if state.random.coin():
        room.put(random_shelf(state))
    return room


def _bedroom(state: State, sewer: Thing) -> Location:
    room = Room(state, "bedroom")
    room.put(bed(state))
    room.put(Table(state, "table"))
    room.put(Cabinet(state, "closet", ("closet", "wood closet")))
    room.put(Picture(state))
    if state.random.coin():
        room.put(random_shelf(state))
    return room


def _bathroom(state: State, sewer: Thing) -> Location:
    room = Room(state, "bathroom")
    room.put(Plumbing(state, "sink", "steel", sewer))
    room.put(Toilet(state, sewer))
    room.put(Plumbing(state, "bathtub", "ceramic", sewer))
    room.put(vessel(state, "glass cup"))
    room.put(Picture(state))
    return room


def _workshop(state: State, sewer: Thing) -> Location:
    room = Room(state, "workshop")
    table = Table(state, "table")
    room.put(table)
    for color in state.random.shuffled(_BULBS)[:3]:
        table.put(LightBulb(state, color))
    for color in state.random.shuffled(_WIRES)[:3]:
        wire = Wire(state)
        wire.name = f"{color} wire"
        table.put(wire)
    table.put(Switch(state))
    table.put(Battery(state))
    room.put(Cooler(state, "ultra low temperature freezer", "freezer", -86.0))
    return room


def _greenhouse(state: State, sewer: Thing) -> Location:
    room = Room(state, "greenhouse")
    room.put(vessel(state, "jug"))
    hive = Cabinet(state, "bee hive", ("bee hive", "hive", "beehive"))
    for i in range(5):
        hive.put(Bee(state, f"bee {i}"))
    room.put(hive)
    room.put(Plumbing(state, "sink", "steel", sewer))
    return room


def _art_studio(state: State, sewer: Thing) -> Location:
    room = Room(state, "art studio")
    table = Table(state, "table")
    room.put(table)
    table.put(state.random.shuffled([vessel(state, name) for name in ("glass cup", "bowl", "jug")])[0])
    for paint in [make(state, name) for name in _PAINTS]:
        room.put(vessel(state, "wood cup", paint))
    cupboard = Cabinet(state, "cupboard", ("cupboard", "wood cupboard"), drawer=True)
    room.put(cupboard)
    for paint in [make(state, name) for name in _PAINTS]:
        cupboard.put(vessel(state, "wood cup", paint))
    cupboard.name = "large cupboard"
    return room


def _hallway(state: State, sewer: Thing) -> Location:
    return _furnish(Room(state, "hallway"), Picture(state))


def _outside(state: State, sewer: Thing) -> Location:
    room = Outside(state)
    pit = Basin(state, "fire pit", "ceramic", ("fire pit",))
    return _furnish(room, pit, make(state, "wood"), Axe(state), Fountain(state))


def _foundry(state: State, sewer: Thing) -> Location:
    room = Room(state, "foundry")
    furnace = Heater(state, "blast furnace", "furnace", 3000.0, opens=True)
    return _furnish(room, furnace, Plumbing(state, "sink", "steel", sewer), Table(state, "table", "steel"))
