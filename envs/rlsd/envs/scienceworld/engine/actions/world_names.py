"""Names of everything in the world, kept by what lies in each room, so that a change costs little."""

from __future__ import annotations

import copy
from typing import Any

from rlsd.envs.scienceworld.engine.actions.census import Census
from rlsd.envs.scienceworld.engine.actions.lots import Book
from rlsd.envs.scienceworld.engine.actions.referents import Naming, collect, names_of
from rlsd.envs.scienceworld.engine.world.places import Portal
from rlsd.envs.scienceworld.engine.world.scala import Bag
from rlsd.envs.scienceworld.engine.world.thing import Terminal, Thing

_Names = dict[Thing, tuple[str, ...]]


class _Part:
    """What lies in a room, and all that is in it, as they were at `stamp`; rooms and portals apart."""

    __slots__ = ("apart", "inner", "place", "stamp")

    def __init__(self, root: Thing) -> None:
        self.stamp, self.place = root.stamp, root.place
        things = collect(root, hidden=True)
        self.apart = [thing for thing in things if thing.is_location or isinstance(thing, Portal)]
        away = set(self.apart)
        self.inner = [thing for thing in things if thing not in away] if away else things


class _Room:
    """A child of the world, as it was at `stamp`: its things in order, and the parts that they make."""

    __slots__ = ("apart", "parts", "stamp", "things")

    def __init__(self, child: Thing, parts: dict[Thing, _Part]) -> None:
        self.stamp, self.parts = child.stamp, parts
        self.things = collect(child, hidden=True)
        beyond = (thing for thing in self.things if thing.is_location)
        self.apart = dict.fromkeys([child, *beyond, *(thing for part in parts.values() for thing in part.apart)])


class WorldNames:
    """All things of a world with their names; rooms and doors, which are named by where the agent is, apart."""

    def __init__(self, universe: Thing) -> None:
        self._universe = universe
        self._rooms: dict[Thing, _Room] = {}
        self._apart: dict[Thing, None] = {}
        self._strays: list[Thing] = []
        """Terminals that lie somewhere without what they belong to, and are named after it."""
        self._where: Thing | None = None
        self._census, self._book = Census(), Book()

    def __deepcopy__(self, memo: dict[int, Any]) -> WorldNames:
        return WorldNames(copy.deepcopy(self._universe, memo))

    def naming(self, where: Thing) -> Naming:
        """Names as seen from a room; they hold until the next ones are asked for."""
        gone, new = dict[Thing, None](), _Names()
        children = self._universe.inside.items()
        order = Bag([self._universe])
        for child in children:
            self._look(child, where, gone, new)
            order.update(self._rooms[child].things)
        self._look_apart(where, gone, new)
        self._look_at_strays(where, gone, new)
        self._census.change([thing for thing in gone if thing not in new], new)
        return Naming(order.items(), self._census, self._book)

    def _look(self, child: Thing, where: Thing, gone: dict[Thing, None], new: _Names) -> None:
        """Note what has changed in a child of the world since it was looked at."""
        kept = self._rooms.get(child)
        if kept is not None and kept.stamp == child.stamp:
            return
        before, parts = kept.parts if kept is not None else {}, dict[Thing, _Part]()
        places: dict[Thing | None, tuple[str, ...]] = {}
        for thing in child.inside_and_portals():
            part = before.get(thing)
            if part is None or part.stamp != thing.stamp or part.place is not thing.place:
                part = _Part(thing)
                for inner in part.inner:
                    new[inner] = names_of(inner, where, places)
            parts[thing] = part
        for thing, part in before.items():
            if parts.get(thing) is not part:
                gone.update(dict.fromkeys(part.inner))
        if not child.is_location:
            new[child] = names_of(child, where, places)
        self._rooms[child] = _Room(child, parts)

    def _look_apart(self, where: Thing, gone: dict[Thing, None], new: _Names) -> None:
        apart = dict.fromkeys([self._universe])
        for room in self._rooms.values():
            apart.update(room.apart)
        if where is self._where and apart == self._apart:
            return
        gone.update(self._apart)
        self._apart, self._where = apart, where
        places: dict[Thing | None, tuple[str, ...]] = {}
        for thing in apart:
            new[thing] = names_of(thing, where, places)

    def _look_at_strays(self, where: Thing, gone: dict[Thing, None], new: _Names) -> None:
        asked = dict.fromkeys((*(stray for stray in self._strays if stray not in gone), *new))
        self._strays = [one for one in asked if isinstance(one, Terminal) and one.place is not one.owner]
        for stray in self._strays:
            new[stray] = names_of(stray, where, {})
