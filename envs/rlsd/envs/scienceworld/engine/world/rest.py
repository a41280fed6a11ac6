"""Rooms at rest: where nothing happens but that heat passes, ticks are counted and worked out when somebody asks.

A room is at rest while nothing in it acts and no temperature can change a state of matter or light a fire: heat that
passes leaves all temperatures between the lowest and the highest of those that touch, so these two decide. What counts
ticks (a stopwatch, an animal that ages) goes on counting, and what roams (bees, the agent with all that it carries)
ticks by itself. Any other change in the room ends the rest; the ticks that were counted are worked out first, on what
was there then.
"""

from __future__ import annotations

from functools import lru_cache

from rlsd.envs.scienceworld.engine.world.heat import keeps_state, touch
from rlsd.envs.scienceworld.engine.world.materials import Material
from rlsd.envs.scienceworld.engine.world.thing import Terminal, Thing

BARE = 2
"""Contents of an ordinary thing that holds nothing: its two terminals."""
_PATIENCE = 7
"""Ticks until a room that was found busy is looked at again, unless it changes before."""


class _Contact:
    """A thing and its contents, between which heat passes; `appliance`: the thing, where it heats or cools them."""

    __slots__ = ("appliance", "inside", "stuff", "stuffs")

    def __init__(self, thing: Thing, inside: list[Thing], stuffs: list[Material]) -> None:
        self.appliance = thing if thing.source() is not None else None
        self.inside, self.stuff, self.stuffs = inside, thing.material, stuffs

    def tick(self) -> None:
        if self.appliance is not None:
            for thing in self.inside:
                self.appliance.change(thing)
        touch(self.stuffs, self.stuff)


class Rest:
    """A room at rest.

    Args:
        contacts: in the order of a tick.
        counting: what counts ticks.
    """

    __slots__ = ("_contacts", "_due", "counting")

    def __init__(self, contacts: list[_Contact], counting: list[Thing]) -> None:
        self._contacts, self.counting = contacts, counting
        self._due = 0

    def count(self) -> None:
        """Let a tick pass."""
        for thing in self.counting:
            thing.count()
        self._due += 1

    def settle(self) -> None:
        """Work out the heat of all ticks that have passed."""
        due, self._due = self._due, 0
        for _ in range(due):
            for contact in self._contacts:
                contact.tick()


def rests(room: Thing) -> bool:
    """Let a tick pass in a room at rest; False for another, in which the tick has to be worked out now."""
    rest: Rest | None = room.rest
    if rest is None:
        if room.place is None or not _may_rest(room):
            return False
        rest = room.rest = _found(room)
        if rest is None:
            room.patience = _PATIENCE
            return False
    for thing in rest.counting:
        if not thing.only_counts():
            rest.settle()
            return False
    rest.count()
    for one in room.state.roaming_in(room):
        one.tick()
    return True


def _may_rest(room: Thing) -> bool:
    """Nothing has changed since the last tick."""
    if room.stirred:
        room.stirred, room.patience = False, 0
        return False
    room.patience -= 1
    return room.patience < 0


class _Touching:
    """Things that warm each other; `between`: their temperatures and those of heat sources."""

    __slots__ = ("between", "stuffs")

    def __init__(self) -> None:
        self.between: list[float] = []
        self.stuffs: list[Material] = []

    def calm(self) -> bool:
        if not self.stuffs:
            return True
        coldest, hottest = min(self.between), max(self.between)
        return all(keeps_state(stuff, coldest, hottest) for stuff in self.stuffs)


class _Busy(Exception):
    """Something in the room acts."""


def _found(room: Thing) -> Rest | None:
    """The rest of a room; None: it is busy."""
    contacts: list[_Contact] = []
    counting: list[Thing] = []
    touching: list[_Touching] = []

    def look(thing: Thing, around: _Touching | None) -> None:
        if isinstance(thing, Terminal) or thing.roams:
            return
        if thing.counts:
            counting.append(thing)
        elif not (_says_when_idle(type(thing)) and thing.is_idle()):
            raise _Busy
        if thing.state.wired and thing.is_live():
            raise _Busy
        stuff, source, inner = thing.material, thing.source(), around
        if stuff is None or around is None:
            touching.append(inner := _Touching())
        assert inner is not None
        if stuff is not None:
            inner.stuffs.append(stuff)
            inner.between.append(stuff.temperature)
        if source is not None:
            inner.between.append(source)
        inside = thing.inside.items()
        if len(inside) > BARE or thing.terminals is None:
            stuffs = [held.material for held in inside if held.material is not None]
            if source is not None or len(stuffs) + (stuff is not None) > 1:
                contacts.append(_Contact(thing, inside, stuffs))
            for held in inside:
                look(held, inner)
        for portal in thing.portals.items():
            look(portal, None)

    try:
        look(room, None)
    except _Busy:
        return None
    return Rest(contacts, counting) if all(some.calm() for some in touching) else None


@lru_cache(maxsize=256)
def _says_when_idle(kind: type[Thing]) -> bool:
    """Whether the class that says what happens in a tick says, too, when nothing does."""
    owner = next(one for one in kind.__mro__ if "tick" in vars(one) or "is_idle" in vars(one))
    return "is_idle" in vars(owner)
