"""Names by which things can be referred to, and one for each thing that no other has, where there is one."""

from __future__ import annotations

from functools import lru_cache

from rlsd.envs.scienceworld.engine.actions.census import Census
from rlsd.envs.scienceworld.engine.actions.lots import Book, FewLots, ManyLots
from rlsd.envs.scienceworld.engine.world.places import Portal
from rlsd.envs.scienceworld.engine.world.scala import JavaRandom, copied
from rlsd.envs.scienceworld.engine.world.thing import Thing

_MANY = 24
"""Things from which on drawing for all at once is faster."""


def collect(root: Thing, *, hidden: bool) -> list[Thing]:
    """All things in `root`, closed containers included, with portals and what lies behind those; not to be changed."""
    kept = root.state.collected.get((root, hidden))
    if kept is not None and kept[0] == root.stamp:
        return kept[1]
    out: list[Thing] = []
    if hidden or not root.hidden:
        out.append(root)
    out += _beyond_portals(root)
    if hidden or not root.hidden:
        for thing in root.inside_and_portals():
            if len(thing.inside) or len(thing.portals):
                out += collect(thing, hidden=hidden)
            elif hidden or not thing.hidden:
                out.append(thing)
    things = copied(list(dict.fromkeys(out)))
    root.state.collected[root, hidden] = root.stamp, things
    return things


def collect_accessible(root: Thing, *, hidden: bool) -> list[Thing]:
    """Things in `root` and in its open containers."""
    out: list[Thing] = []
    if hidden or not root.hidden:
        out.append(root)
    out += _beyond_portals(root)
    if hidden or not root.hidden:
        out += root.within_reach(hidden=hidden)
    return copied(list(dict.fromkeys(out)))


def _beyond_portals(root: Thing) -> list[Thing]:
    """Portals, each with what it leads to."""
    out: list[Thing] = []
    for portal in root.portals.items():
        out.append(portal)
        beyond = portal.leads_to(root)
        if beyond is not None:
            out.append(beyond)
    return out


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
        census: names of these things; not to be changed while this is in use.
        book: of the same world, for many things.
    """

    def __init__(self, things: list[Thing], census: Census, book: Book) -> None:
        self.things, self._census = things, census
        own, names = census.own, census.names
        self._shared = [thing for thing in things if thing not in own]
        shared = [names[thing] for thing in self._shared]
        self._lots = ManyLots(shared, book) if len(shared) >= _MANY else FewLots(shared)

    def any_named(self, *names: str) -> bool:
        """Whether each of these is a name of something."""
        return all(map(self._census.is_name, names))

    def drawn(self, draw: JavaRandom) -> dict[Thing, str]:
        """A name for each thing: the first that is its alone, else one found in up to twenty attempts."""
        return self.named(self.draw(draw))

    def draw(self, draw: JavaRandom) -> list[int]:
        """Which of its names each thing gets that has none of its own."""
        return self._lots.draw(draw) if self._shared else []

    def named(self, drawn: list[int]) -> dict[Thing, str]:
        """The names by what was drawn."""
        names = self._census.names
        return {**self._census.own, **{t: names[t][i] for t, i in zip(self._shared, drawn)}}


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


class RoomNames:
    """Names of what can be seen in a room, kept up to date."""

    def __init__(self) -> None:
        self._census, self._book = Census(), Book()

    def naming(self, room: Thing) -> Naming:
        """What can be told of them without random numbers; it holds until the next one is made."""
        return self.of(collect(room, hidden=False), room)

    def of(self, things: list[Thing], room: Thing) -> Naming:
        places: dict[Thing | None, tuple[str, ...]] = {}
        names = {thing: names_of(thing, room, places) for thing in things}
        self._census.change([thing for thing in self._census.names if thing not in names], names)
        return Naming(things, self._census, self._book)
