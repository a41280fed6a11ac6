"""Bees: they carry pollen from flower to flower."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.agent import Agent
from rlsd.envs.scienceworld.engine.world.living import FOREVER_ADULT, Animal
from rlsd.envs.scienceworld.engine.world.places import Location
from rlsd.envs.scienceworld.engine.world.plants import Flower, Pollen
from rlsd.envs.scienceworld.engine.world.roaming import Roaming
from rlsd.envs.scienceworld.engine.world.scala import Undrawn
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, DETAILED, Thing


class Bee(Roaming, Animal):
    """Wanders between flowers and through open doors, and carries pollen."""

    most_pollen = 5
    _shut_in_at = -1
    """`state.changes` when it was last found to be shut in."""

    def __init__(self, state: State, name: str) -> None:
        super().__init__(state, "bee", FOREVER_ADULT)
        self.name = name
        state.bees.append(self)
        state.roaming.append(self)

    def tick(self) -> None:
        if self.ticked == self.state.now:
            return
        if isinstance(self.state.random, Undrawn) and (self.is_shut_in() or self.is_out_of_sight()):
            if self.state.wired or not self.is_bare():
                super().tick()
            else:
                self.count()
                self.ticked = self.state.now
            return
        if isinstance(self.place, Flower):
            if self.state.random.below(2) == 0:
                self._collect()
            else:
                self._move_on()
        elif self.state.random.below(2) == 1:
            self._enter_flower()
        else:
            self._move_on()
        super().tick()

    def is_shut_in(self) -> bool:
        """Nothing can come of what it tries."""
        if self._shut_in_at == self.state.changes:
            return True
        place = self.place
        if place is None or isinstance(place, (Flower, Location)) or place.holder is None or place.holder.is_open:
            return False
        if len(place.portals) or any(isinstance(t, Flower) for t in place.within_reach(hidden=False)):
            return False
        self._shut_in_at = self.state.changes
        return True

    def is_out_of_sight(self) -> bool:
        """Whatever it tries, it stays in a room without flowers, whose doors are shut; and nobody is there, or in the
        next room, from which a room can be looked at."""
        room = self.room()
        if room is None:
            return False
        for portal in room.portals.items():
            beyond = portal.leads_to(room)
            if portal.is_open or beyond is None or beyond.of_type(Agent):
                return False
        return not room.of_type(Agent) and not any(isinstance(t, Flower) for t in room.within_reach(hidden=False))

    def _move_on(self) -> None:
        """Through an open door, or out of an open container that is in a room."""
        place = self.place
        if place is None:
            return
        ways = [portal for portal in place.portals.items() if portal.is_open]
        if ways:
            beyond = self.state.random.choice(ways).leads_to(place)
            self.roam(beyond)
        elif not isinstance(place, Location) and place.holder is not None and place.holder.is_open:
            room = _room_of(place)
            if room is not None:
                self.roam(room)

    def _enter_flower(self) -> None:
        if self.place is not None:
            flowers = [thing for thing in self.place.within_reach(hidden=False) if isinstance(thing, Flower)]
            if flowers:
                self.roam(self.state.random.choice(flowers))

    def _collect(self) -> None:
        if self.place is None or self._pollen_on() > self.most_pollen:
            return
        pollen = self.place.of_type(Pollen)
        if pollen:
            self.put(self.state.random.choice(pollen))

    def _pollen_on(self) -> int:
        return sum(isinstance(thing, Pollen) for thing in self.within_reach(hidden=False))

    def referents(self) -> list[str]:
        return ["living thing", "organism", self.name, self.life.kind, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        if self.life.dead:
            return f"a dead {self.shown_name()}"
        text = f"a {self.shown_name()}{' (that looks unwell)' if self.life.sickly else ''}"
        return text + (", that is covered in pollen" if mode == DETAILED and self._pollen_on() else "")


def _room_of(thing: Thing) -> Thing | None:
    """The room around an open container, through open containers only."""
    place = thing.place
    if place is None or isinstance(place, Location):
        return place
    return _room_of(place) if thing.holder is not None and thing.holder.is_open else None
