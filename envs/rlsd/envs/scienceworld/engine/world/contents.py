"""Where a thing is and what it holds: moving it, telling of changes, and looking into it at any depth."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from rlsd.envs.scienceworld.engine.world.scala import CROWDED, Bag, copied
from rlsd.envs.scienceworld.engine.world.state import State

_DEEPEST = 30
NOTHING: Bag[Any] = Bag()
"""The contents of what never holds anything, and the portals of what has none; never added to."""


class Contents:
    """What `thing.Thing` has of it: all things that are spoken of here are such."""

    state: State
    inside: Bag[Any]
    place: Any
    hidden: bool
    terminals: Any
    material: Any
    portals: Bag[Any] = NOTHING
    is_location = False
    rest: Any = None
    """`rest.Rest`, for a room in which nothing happens."""
    stirred, patience = True, 0
    """Of a room: it has changed since the last tick; ticks until it is asked again whether it rests."""
    stamp = 0
    """Grows with every change of its name, its looks or its contents, at any depth."""

    def put(self, thing: Any) -> None:
        """Move `thing` in here, wherever it is."""
        if thing is self:
            return
        thing.leave()
        self.inside.add(thing)
        thing.place = self
        self.changed()

    def leave(self) -> None:
        """Be nowhere."""
        if self.place is not None:
            self.place.inside.remove(self)
            self.place.changed()
            self.place = None

    def changed(self, *, stirs: bool = True) -> None:
        """Tell that its name, its looks or its contents have changed; `stirs`: so that a room at rest may act."""
        self.state.changes += 1
        place: Any = self
        for _ in range(_DEEPEST):  # what has been put into its own contents is in no room, and goes round in a circle
            if place is None:
                return
            place.stamp += 1
            if place.is_location:
                if stirs:
                    place.end_rest()
                return
            place = place.place

    def stir(self) -> None:
        """Tell that it may act now, without a change that shows in names: it was switched, wired, heated."""
        room = self.room()
        if room is not None:
            room.end_rest()

    def end_rest(self) -> None:
        """Of a room: work out what is due; from the next tick on, things in it may act."""
        self.stirred = True
        if self.rest is not None:
            self.rest.settle()
            self.rest = None

    def room(self) -> Any:
        """The place that it is in at any depth, or that it is; None: it is nowhere."""
        place: Any = self
        for _ in range(_DEEPEST):
            if place is None or place.is_location:
                return place
            place = place.place
        return None

    def temperature(self) -> float:
        """In °C, with all ticks worked out; only for what is made of something."""
        assert self.material is not None
        room = self.room()
        if room is not None and room.rest is not None:
            room.rest.settle()
        return self.material.temperature

    def add_portal(self, portal: Any) -> None:
        if self.portals is NOTHING:
            self.portals = Bag()
        self.portals.add(portal)

    def is_bare(self) -> bool:
        """Whether it holds its two hidden terminals and nothing else."""
        pair = self.terminals
        if pair is None or len(self.inside) != len(pair) or len(self.portals):
            return False
        return all(terminal.hidden and terminal.place is self for terminal in pair)

    def visible(self) -> list[Any]:
        return copied([thing for thing in self.inside.items() if not thing.hidden])

    def inside_and_portals(self) -> list[Any]:
        if not len(self.portals):
            return copied(self.inside.items())
        both: Bag[Any] = Bag(self.inside.items())
        both.update(self.portals.items())
        return both.items()

    def deep(self) -> list[Any]:
        """Everything inside, at any depth."""
        inside = self.inside.items()
        parts = [thing.deep() for thing in inside]
        if len(inside) + sum(map(len, parts)) <= CROWDED:
            return list(dict.fromkeys(chain(inside, *parts)))
        out: Bag[Any] = Bag(inside)
        for part in parts:
            out.update(part)
        return out.items()

    def deep_visible_and_portals(self) -> list[Any]:
        """Visible contents and portals at any depth, closed containers included; not to be changed."""
        kept = self.state.sights.get(self)
        if kept is not None and kept[0] == self.stamp:
            return kept[1]
        things = self._deep_visible()
        self.state.sights[self] = self.stamp, things
        return things

    def _deep_visible(self) -> list[Any]:
        seen = [thing for thing in (*self.inside.items(), *self.portals.items()) if not thing.hidden]
        for thing in self.inside.items():
            if not thing.hidden and not thing.is_bare():
                seen += thing.deep_visible_and_portals()
        things = list(dict.fromkeys(seen))
        return self._crowded_sight() if len(things) > CROWDED else things

    def _crowded_sight(self) -> list[Any]:
        out: Bag[Any] = Bag(thing for thing in self.inside.items() if not thing.hidden)
        out.update(portal for portal in self.portals.items() if not portal.hidden)
        for thing in self.inside.items():
            if not thing.hidden:
                merged = Bag(out.items())
                merged.update(thing.deep_visible_and_portals())
                out = merged
        return Bag(out.items()).items()

    def within_reach(self, *, hidden: bool) -> list[Any]:
        """Contents, and those of open containers, with terminals; not to be changed."""
        kept = self.state.reach.get((self, hidden))
        if kept is not None and kept[0] == self.stamp:
            return kept[1]
        out: list[Any] = []
        for thing in self.inside.items():
            if thing.hidden and not hidden:
                continue
            out.append(thing)
            out += thing.shown_terminals(hidden=hidden)
            if thing.holder is not None and thing.holder.is_open:
                out += thing.within_reach(hidden=hidden)
        out += [portal for portal in self.portals.items() if portal.hidden or hidden]
        things = copied(list(dict.fromkeys(out)))
        if self.place is not None:  # changes in its rooms are none of the world
            self.state.reach[self, hidden] = self.stamp, things
        return things

    def shown_terminals(self, *, hidden: bool) -> tuple[Any, ...]:
        return self.terminals if hidden and self.terminals is not None else ()

    def of_type(self, kind: type) -> list[Any]:
        return [thing for thing in self.inside.items() if isinstance(thing, kind)]

    def places(self) -> Iterator[Any]:
        """Where it is, from the nearest to the whole world; each once, even if two things were put into each other."""
        place, passed = self.place, set[Any]()
        while place is not None and place not in passed:
            yield place
            passed.add(place)
            place = place.place
