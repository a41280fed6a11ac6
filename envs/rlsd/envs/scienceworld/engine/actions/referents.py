"""Names by which things can be referred to, and one for each thing that no other has, where there is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain

from rlsd.envs.scienceworld.engine.world.places import Portal
from rlsd.envs.scienceworld.engine.world.scala import Bag, JavaRandom
from rlsd.envs.scienceworld.engine.world.thing import Thing

_STEPPED, _ATTEMPTS = 10, 20
"""Attempts at distinct names: the first ones take the next name, the others any name at random."""


def collect(root: Thing, *, hidden: bool) -> list[Thing]:
    """All things in `root`, closed containers included, with portals and what lies behind those; not to be changed."""
    kept = root.state.collected.get((root, hidden))
    if kept is not None and kept[0] == root.stamp:
        return kept[1]
    out: Bag[Thing] = Bag()
    if hidden or not root.hidden:
        out.add(root)
    _add_portals(root, out)
    if hidden or not root.hidden:
        for thing in root.inside_and_portals():
            if len(thing.inside) or len(thing.portals):
                out.update(collect(thing, hidden=hidden))
            elif hidden or not thing.hidden:
                out.add(thing)
    things = out.items()
    root.state.collected[root, hidden] = root.stamp, things
    return things


def collect_accessible(root: Thing, *, hidden: bool) -> list[Thing]:
    """Things in `root` and in its open containers."""
    out: Bag[Thing] = Bag()
    if hidden or not root.hidden:
        out.add(root)
    _add_portals(root, out)
    if hidden or not root.hidden:
        out.update(root.within_reach(hidden=hidden))
    return out.items()


def _add_portals(root: Thing, out: Bag[Thing]) -> None:
    for portal in root.portals.items():
        out.add(portal)
        beyond = portal.leads_to(root)
        if beyond is not None:
            out.add(beyond)


@lru_cache(maxsize=131_072)
def _all_names(names: tuple[str, ...], places: tuple[str, ...]) -> tuple[str, ...]:
    """Every name, with and without what the thing is in or on, sorted: "apple", "apple in bowl"."""
    out = set()
    for name in names:
        if not name.strip():
            continue
        name = name.lower()
        out.add(name)
        for place in places:
            place = place.lower()
            out.add(f"{name} in {place}")
            out.add(f"{name} on {place}")
    return tuple(sorted(name for name in out if len(name) > 1))


class Naming:
    """Names of things before anything is drawn.

    Args:
        things: in the order in which names are chosen.
        names: all names of each.
        seen: how many things have each name.
    """

    def __init__(self, things: list[Thing], names: Mapping[Thing, tuple[str, ...]], seen: Mapping[str, int]) -> None:
        self.things, self.names = things, names
        self._own: dict[Thing, str] = {}
        shared: list[tuple[Thing, tuple[str, ...]]] = []
        for thing in things:
            for name in names[thing]:
                if seen[name] == 1:
                    self._own[thing] = name
                    break
            else:
                shared.append((thing, names[thing]))
        self._shared = [thing for thing, _ in shared]
        self._names = [some for _, some in shared]
        self._groups = _groups(self._names)
        self._at = [0] * len(shared)
        self._active = list(range(len(shared)))
        for _ in range(_STEPPED):
            taken = self._taken(self._at)
            for i in taken:
                self._at[i] = (self._at[i] + 1) % len(self._names[i])
            self._active = self._unsettled(taken, self._active)

    def drawn(self, draw: JavaRandom) -> dict[Thing, str]:
        """A name for each thing: the first that is its alone, else one found in up to twenty attempts."""
        at = self.draw(draw)
        return {**self._own, **{t: some[i] for t, some, i in zip(self._shared, self._names, at)}}

    def draw(self, draw: JavaRandom) -> list[int]:
        """Which of its names each thing gets that has none of its own."""
        at, active, names = list(self._at), self._active, self._names
        for _ in range(_STEPPED, _ATTEMPTS):
            chosen = [names[i][at[i]] for i in active]
            count = Counter(chosen)
            taken = [i for i, name in zip(active, chosen) if count[name] > 1]
            if not taken:
                break
            for i, drawn in zip(taken, draw.below_each([len(names[i]) for i in taken])):
                at[i] = drawn
            active = self._unsettled(taken, active)
        return at

    def _taken(self, at: list[int]) -> list[int]:
        """Those whose present name is that of another, too."""
        chosen = [self._names[i][at[i]] for i in self._active]
        count = Counter(chosen)
        return [i for i, name in zip(self._active, chosen) if count[name] > 1]

    def _unsettled(self, taken: list[int], active: list[int]) -> list[int]:
        """Without the groups whose names are distinct: nothing changes in those any more."""
        if len(taken) == len(active):
            return active
        open_groups = {self._groups[i] for i in taken}
        return [i for i in active if self._groups[i] in open_groups]


def _groups(names: list[tuple[str, ...]]) -> list[int]:
    """A number for each, equal for those that share a name, directly or through others."""
    different = {some: i for i, some in enumerate(dict.fromkeys(names))}
    parent = list(range(len(different)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for some, i in different.items():
        for name in some:
            other = first.setdefault(name, i)
            if other != i:
                parent[root(i)] = root(other)
    return [root(different[some]) for some in names]


def all_names(thing: Thing, where: Thing) -> tuple[str, ...]:
    """All names of a thing seen from a room."""
    return names_of(thing, where, {})


def names_of(thing: Thing, where: Thing, places: dict[Thing | None, tuple[str, ...]]) -> tuple[str, ...]:
    """All names of a thing seen from a room; `places` keeps the names of places."""
    place = thing.place
    around = places.get(place)
    if around is None:
        around = places[place] = tuple(place.referents()) if place is not None else ()
    if isinstance(thing, Portal):
        return _all_names(tuple(thing.seen_from(where)), around)
    stamp = thing.name_stamp()
    kept = thing.state.names.get(thing)
    if kept is not None and kept[0] == stamp and kept[1] == around:
        return kept[2]
    names = _all_names(tuple(thing.referents()), around)
    thing.state.names[thing] = stamp, around, names
    return names


def naming(things: list[Thing], where: Thing) -> Naming:
    """What can be told of the names of things, seen from a room, without random numbers."""
    places: dict[Thing | None, tuple[str, ...]] = {}
    names = {thing: names_of(thing, where, places) for thing in things}
    return Naming(things, names, Counter(chain.from_iterable(names.values())))
