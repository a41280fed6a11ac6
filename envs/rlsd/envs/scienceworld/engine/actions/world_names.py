"""Names of everything in the world, kept room by room, so that a change in one room costs little."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

from rlsd.envs.scienceworld.engine.actions.referents import Naming, collect, names_of
from rlsd.envs.scienceworld.engine.world.places import Portal
from rlsd.envs.scienceworld.engine.world.scala import Bag
from rlsd.envs.scienceworld.engine.world.thing import Thing

_Names = dict[Thing, tuple[str, ...]]


class _Part:
    """A child of the world, as it was at `stamp`: its things in order, and the names of those that stay in it."""

    __slots__ = ("names", "stamp", "things")

    def __init__(self, stamp: int, things: list[Thing], names: _Names) -> None:
        self.stamp, self.things, self.names = stamp, things, names


class WorldNames:
    """All things of a world with their names; rooms and doors, which are named by where the agent is, apart."""

    def __init__(self, universe: Thing) -> None:
        self._universe = universe
        self._parts: dict[Thing, _Part] = {}
        self._apart: _Names = {}
        self._seen: defaultdict[str, int] = defaultdict(int)

    def __deepcopy__(self, memo: dict[int, Any]) -> WorldNames:
        return WorldNames(copy.deepcopy(self._universe, memo))

    def naming(self, where: Thing) -> Naming:
        """Names as seen from a room."""
        order: Bag[Thing] = Bag([self._universe])
        names: _Names = {}
        for child in self._universe.inside.items():
            part = self._part(child, where)
            order.update(part.things)
            names.update(part.names)
        things = order.items()
        self._name_apart([thing for thing in things if thing not in names], where)
        names.update(self._apart)
        return Naming(things, names, self._seen)

    def _part(self, child: Thing, where: Thing) -> _Part:
        kept = self._parts.get(child)
        if kept is not None and kept.stamp == child.stamp:
            return kept
        things = collect(child, hidden=True)
        places: dict[Thing | None, tuple[str, ...]] = {}
        inner = [thing for thing in things if not thing.is_location and not isinstance(thing, Portal)]
        names = {thing: names_of(thing, where, places) for thing in inner}
        self._count(kept.names if kept is not None else {}, names)
        part = self._parts[child] = _Part(child.stamp, things, names)
        return part

    def _name_apart(self, things: list[Thing], where: Thing) -> None:
        places: dict[Thing | None, tuple[str, ...]] = {}
        names = {thing: names_of(thing, where, places) for thing in things}
        self._count(self._apart, names)
        self._apart = names

    def _count(self, old: _Names, new: _Names) -> None:
        """Bring the counts of names from the old ones to the new."""
        seen = self._seen
        for thing, some in old.items():
            if new.get(thing) != some:
                for name in some:
                    seen[name] -= 1
        for thing, some in new.items():
            if old.get(thing) != some:
                for name in some:
                    seen[name] += 1
