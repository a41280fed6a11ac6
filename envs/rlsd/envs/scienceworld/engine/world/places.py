"""Rooms and what leads out of them."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.abilities import open_holder
from rlsd.envs.scienceworld.engine.world.listed import listed
from rlsd.envs.scienceworld.engine.world.materials import LIQUID, material
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, Thing

_NO_PLAIN_REFERENT = "ERROR: SHOULD USE OVERRIDE FOR PORTAL."


class Location(Thing):
    """A place the agent can be in."""

    movable = False
    is_location = True
    nouns: tuple[str, ...] = ("location",)

    def __init__(self, state: State, name: str) -> None:
        super().__init__(state)
        self.name, self.holder = name, open_holder()

    def referents(self) -> list[str]:
        return [*self.nouns, self.name, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        return (
            f"A {self.shown_name()}. In this location, you see: {listed(self.inside_and_portals(), self, lines=True)}."
        )

    def _surroundings(self) -> str:
        doors = {look for portal in self.portals.items() if (look := portal.look(CURSORY, self)) is not None}
        told = "".join(f"\t{look}\n" for look in sorted(doors)) or "\tnothing"
        return f"{listed(self.inside.items(), self, lines=True)}You also see:\n{told}"


class Universe(Location):
    """The whole world."""

    nouns = ("universe",)

    def __init__(self, state: State) -> None:
        super().__init__(state, "universe")

    def referents(self) -> list[str]:
        return ["universe", self.shown_name()]


class Room(Location):
    nouns = ("room",)

    def __init__(self, state: State, name: str) -> None:
        super().__init__(state, name)
        air = make(state, "air")
        assert air.material is not None
        air.material.temperature = 25.0
        self.put(air)

    def describe(self, mode: int = CURSORY) -> str:
        return f"This room is called the {self.shown_name()}. In it, you see: \n{self._surroundings()}"


class Outside(Room):
    nouns = ("outside",)

    def __init__(self, state: State) -> None:
        super().__init__(state, "outside")
        self.put(Ground(state))

    def describe(self, mode: int = CURSORY) -> str:
        return f"This outside location is called the {self.shown_name()}. Here you see: \n{self._surroundings()}"


class Ground(Thing):
    """Whatever is put on the ground lies in the place itself, its own terminals included."""

    base_name = "ground"

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.material, self.holder = material("soil"), open_holder()

    def tick(self) -> None:
        if self.place is not None:
            for thing in self.inside.items():
                self.place.put(thing)
        super().tick()

    def is_idle(self) -> bool:
        return not len(self.inside)

    def referents(self) -> list[str]:
        return ["ground", self.name, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        return f"the {self.shown_name()}"


class Portal(Thing):
    """A way between two things."""

    movable = False

    def __init__(self, state: State, one: Thing, other: Thing, *, is_open: bool = False) -> None:
        super().__init__(state)
        self.one, self.other, self.is_open = one, other, is_open

    def leads_to(self, where: Thing) -> Thing | None:
        """The other side, from `where` or what holds one of the sides."""
        if where is self.one or (where is not self.other and self.one in where.inside):
            return self.other
        if where is self.other or self.other in where.inside:
            return self.one
        return None

    def refusal(self) -> str:
        return f"The {self.name} is not open."

    def shown_name(self, instead: str = "") -> str:
        return f"door between {self.one.name} and {self.other.name}"

    def referents(self) -> list[str]:
        return [_NO_PLAIN_REFERENT]

    def seen_from(self, where: Thing) -> list[str]:
        beyond = self.leads_to(where)
        if beyond is not None:
            return [self.name, f"{self.name} to {beyond.name}", f"{beyond.name} {self.name}"]
        one, other = self.one.name, self.other.name
        return [self.name, f"{self.name} from {one} to {other}", f"{self.name} from {other} to {one}"]

    def look(self, mode: int, where: Thing) -> str | None:
        state = "open" if self.is_open else "closed"
        beyond = self.leads_to(where)
        if beyond is not None:
            return f"A {self.name} to the {beyond.name} (that is {state})"
        return f"A {self.name} that connects the {self.one.name} to the {self.other.name} (that is {state})"

    def describe(self, mode: int = CURSORY) -> str:
        return _NO_PLAIN_REFERENT


class Door(Portal):
    base_name = "door"


class Drain(Portal):
    """Lets liquids run out of what it is in."""

    base_name = "drain"

    def tick(self) -> None:
        if self.is_open:
            for thing in self.one.inside.items():
                if thing.material is not None and thing.material.state == LIQUID:
                    self.other.put(thing)
        super().tick()

    def is_idle(self) -> bool:
        stuffs = [thing.material for thing in self.one.inside.items()]
        return not self.is_open or not any(stuff is not None and stuff.state == LIQUID for stuff in stuffs)

    def seen_from(self, where: Thing) -> list[str]:
        if where is self.one or self.one in where.inside:
            return [self.name, f"{self.one.name} {self.name}"]
        if where is self.other or self.other in where.inside:
            return [self.name, f"{self.other.name} {self.name}"]
        return [self.name]

    def look(self, mode: int, where: Thing) -> str | None:
        return f"A {self.name}, which is {'open' if self.is_open else 'closed'}"
