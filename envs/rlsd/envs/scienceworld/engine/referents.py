"""Names by which things can be referred to, and one for each thing that no other has, where there is one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from rlsd.envs.scienceworld.engine.scala import Bag, JavaRandom
from rlsd.envs.scienceworld.engine.thing import Thing

_STEPPED, _ATTEMPTS = 10, 20
"""Attempts at distinct names: the first ones take the next name, the others any name at random."""


def collect(root: Thing, *, hidden: bool) -> list[Thing]:
    """All things in `root`, closed containers included, with portals and what lies behind those."""
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
    return out.items()


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


@dataclass(slots=True)
class Naming:
    """Names of things before anything is drawn."""

    things: list[Thing]
    own: dict[Thing, str]
    """The first name that is a thing's alone."""
    shared: list[tuple[Thing, tuple[str, ...]]]
    """Things without such a name, with all they have."""

    def drawn(self, draw: JavaRandom) -> dict[Thing, str]:
        """A name for each thing; those that share theirs get one in up to twenty attempts at distinct ones."""
        shared = [names for _, names in self.shared]
        at = [0] * len(shared)
        active = list(range(len(shared)))
        for attempt in range(_ATTEMPTS):
            taken: dict[str, int] = {}
            for i in active:
                name = shared[i][at[i]]
                taken[name] = taken.get(name, 0) + 1
            settled = True
            for i in active:
                names = shared[i]
                if taken[names[at[i]]] > 1:
                    settled = False
                    at[i] = (at[i] + 1) % len(names) if attempt < _STEPPED else draw.below(len(names))
            if settled:
                break
        return {**self.own, **{thing: names[at[i]] for i, (thing, names) in enumerate(self.shared)}}


def naming(things: list[Thing], where: Thing) -> Naming:
    """What can be told of the names of things, seen from a room, without random numbers."""
    places: dict[Thing | None, tuple[str, ...]] = {None: ()}
    names = []
    for thing in things:
        place = thing.place
        if place not in places:
            assert place is not None
            places[place] = tuple(place.referents())
        names.append(_all_names(tuple(thing.seen_from(where)), places[place]))
    seen = Counter(chain.from_iterable(names))
    own: dict[Thing, str] = {}
    shared: list[tuple[Thing, tuple[str, ...]]] = []
    for thing, some in zip(things, names):
        for name in some:
            if seen[name] == 1:
                own[thing] = name
                break
        else:
            shared.append((thing, some))
    return Naming(things, own, shared)
