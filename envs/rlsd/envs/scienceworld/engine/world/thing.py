"""A thing of the world: where it is, what it holds, what it is called, how it looks.

Every ordinary thing has two hidden electrical terminals inside, as in the original; they are things and count as
contents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlsd.envs.scienceworld.engine.world.abilities import Device, Holder
from rlsd.envs.scienceworld.engine.world.materials import Material
from rlsd.envs.scienceworld.engine.world.scala import CROWDED, Bag, copied
from rlsd.envs.scienceworld.engine.world.state import State

CURSORY, DETAILED = 0, 1
HIGH, GROUND = 9.0, 0.0
"""Voltages of a running generator: at its anode, at its cathode."""
_DEEPEST = 30
_FARTHEST = 10
"""Parts of a circuit that are followed to ground."""


class Thing:
    """Subclasses override what they do differently; `state` holds the random numbers and counters of the episode."""

    base_name = ""
    hidden = False
    movable = True
    deleted = False
    edible: bool | None = None
    """None: eating was never thought of."""
    material: Material | None = None
    holder: Holder | None = None
    device: Device | None = None
    life: Any = None
    """`living.Life`, for what lives."""
    color = ""
    ticked = -1
    """The tick in which it was last advanced."""
    terminals: tuple[Terminal, Terminal] | None = None
    has_terminals = True
    generates = False
    """Electricity comes from it."""
    can_hold = True
    portals: Bag[Any]
    is_location = False
    counts = False
    """In a tick it may do no more than count: it has `only_counts` and `count`."""
    roams = False
    """It is `roaming.Roaming`."""
    rest: Any = None
    """`rest.Rest`, for a room in which nothing happens."""
    stirred, patience = True, 0
    """Of a room: it has changed since the last tick; ticks until it is asked again whether it rests."""
    stamp = 0
    """Grows with every change of its name, its looks or its contents, at any depth."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.inside: Bag[Thing] = Bag() if self.can_hold else NOTHING
        self.place: Thing | None = None
        self.name = self.base_name
        if self.has_terminals:
            self.terminals = _plain_terminals(self)
        self.number = state.next_number()

    # contents

    def put(self, thing: Thing) -> None:
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
        place: Thing | None = self
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

    def room(self) -> Thing | None:
        """The place that it is in at any depth, or that it is; None: it is nowhere."""
        place: Thing | None = self
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

    def add_portal(self, portal: Thing) -> None:
        if self.portals is NOTHING:
            self.portals = Bag()
        self.portals.add(portal)

    def is_bare(self) -> bool:
        """Whether it holds its two hidden terminals and nothing else."""
        pair = self.terminals
        if pair is None or len(self.inside) != len(pair) or len(self.portals):
            return False
        return all(terminal.hidden and terminal.place is self for terminal in pair)

    def visible(self) -> list[Thing]:
        return copied([thing for thing in self.inside.items() if not thing.hidden])

    def inside_and_portals(self) -> list[Thing]:
        if not len(self.portals):
            return copied(self.inside.items())
        both: Bag[Thing] = Bag(self.inside.items())
        both.update(self.portals.items())
        return both.items()

    def deep(self) -> list[Thing]:
        """Everything inside, at any depth."""
        out: Bag[Thing] = Bag(self.inside.items())
        for thing in self.inside.items():
            out.update(thing.deep())
        return out.items()

    def deep_visible_and_portals(self) -> list[Thing]:
        """Visible contents and portals at any depth, closed containers included; not to be changed."""
        kept = self.state.sights.get(self)
        if kept is not None and kept[0] == self.stamp:
            return kept[1]
        things = self._deep_visible()
        self.state.sights[self] = self.stamp, things
        return things

    def _deep_visible(self) -> list[Thing]:
        seen = [thing for thing in (*self.inside.items(), *self.portals.items()) if not thing.hidden]
        for thing in self.inside.items():
            if not thing.hidden and not thing.is_bare():
                seen += thing.deep_visible_and_portals()
        things = list(dict.fromkeys(seen))
        return self._crowded_sight() if len(things) > CROWDED else things

    def _crowded_sight(self) -> list[Thing]:
        out: Bag[Thing] = Bag(thing for thing in self.inside.items() if not thing.hidden)
        out.update(portal for portal in self.portals.items() if not portal.hidden)
        for thing in self.inside.items():
            if not thing.hidden:
                merged = Bag(out.items())
                merged.update(thing.deep_visible_and_portals())
                out = merged
        return Bag(out.items()).items()

    def within_reach(self, *, hidden: bool) -> list[Thing]:
        """Contents, and those of open containers, with terminals; not to be changed."""
        kept = self.state.reach.get((self, hidden))
        if kept is not None and kept[0] == self.stamp:
            return kept[1]
        out: list[Thing] = []
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

    def shown_terminals(self, *, hidden: bool) -> tuple[Thing, ...]:
        return self.terminals if hidden and self.terminals is not None else ()

    def of_type(self, kind: type) -> list[Any]:
        return [thing for thing in self.inside.items() if isinstance(thing, kind)]

    def places(self) -> Iterator[Thing]:
        """Where it is, from the nearest to the whole world; each once, as two things can have been put into each other."""
        place, passed = self.place, set[Thing]()
        while place is not None and place not in passed:
            yield place
            passed.add(place)
            place = place.place

    # names and looks

    def shown_name(self, instead: str = "") -> str:
        """Its name, with what fire did to it."""
        name = instead or self.name
        stuff = self.material
        if stuff is not None:
            if stuff.burning:
                return f"{name} (on fire)"
            if stuff.burned:
                return f"burned {name}"
        return name

    def referents(self) -> list[str]:
        """By what it can be referred to, without its place; may repeat."""
        return ["object", self.name, self.shown_name()]

    def name_stamp(self) -> int:
        """Equal numbers mean equal names, but for those of doors."""
        return self.stamp

    def seen_from(self, where: Thing) -> list[str]:
        """As `referents`, from a room: doors are named by where they lead to."""
        return self.referents()

    def describe(self, mode: int = CURSORY) -> str:
        return f"An object, called {self.shown_name()}, of type "

    def look(self, mode: int, where: Thing) -> str | None:
        """How it looks from a room; None: it is hidden."""
        return None if self.hidden else self.describe(mode)

    # electricity

    def connected(self) -> bool:
        return self.terminals is not None and any(len(t.wired) for t in self.terminals)

    def conducts(self) -> bool:
        """Whether voltage passes from one of its terminals to the other."""
        return self.material is not None and self.material.conductive

    def is_live(self) -> bool:
        """Whether electricity may do something in it."""
        if self.connected():
            return True
        return self.terminals is not None and not self.conducts() and any(t.voltage is not None for t in self.terminals)

    def other_terminal(self, terminal: Thing) -> Any:
        if self.terminals is None or terminal not in self.terminals:
            return None
        return self.terminals[1] if terminal is self.terminals[0] else self.terminals[0]

    def disconnect(self) -> None:
        for terminal in self.terminals or ():
            terminal.unwire()

    # what happens

    def delete(self, *, expel: bool = False) -> None:
        """Take it out of the world; `expel`: its contents stay where it was."""
        if expel and self.place is not None:
            for thing in self.inside.items():
                self.place.put(thing)
        self.disconnect()
        self.leave()
        self.name += " (deleted)"
        self.deleted = True

    def use_on(self, thing: Thing) -> str | None:
        """What using it on `thing` says; None: it cannot be."""
        return None

    def tick(self) -> None:
        """Let one moment pass for it and its contents, once for each `state.now`."""
        self.state.advance(self)

    def is_idle(self) -> bool:
        """Whether `tick` does no more than `physics.advance`, now and until its room changes or is stirred.

        A class whose `tick` does more says here when that comes to nothing, or is taken to be busy.
        """
        return True

    def only_counts(self) -> bool:
        """Whether all that `tick` would do next is `count`."""
        raise NotImplementedError

    def count(self) -> None:
        """Count a tick."""
        raise NotImplementedError

    def source(self) -> float | None:
        """Degrees of the heat or cold that it gives to its contents; None: it gives none."""
        return None

    def change(self, thing: Thing) -> None:
        """What a tick does to a thing in a heat source."""
        raise NotImplementedError


NOTHING: Bag[Any] = Bag()
"""The contents of what never holds anything, and the portals of what has none; never added to."""
Thing.portals = NOTHING


class Terminal(Thing):
    """Where something can be connected; one connection at most."""

    movable = False
    has_terminals = False
    can_hold = False

    def __init__(self, state: State, owner: Thing, name: str) -> None:
        super().__init__(state)
        self.owner, self.name = owner, name
        self.wired: Bag[Terminal] = Bag()
        self.voltage: float | None = None

    def wire(self, other: Terminal) -> None:
        if not len(self.wired):
            self.state.wired = True
            self.wired.add(other)
            self.owner.stir()

    def unwire(self) -> None:
        for other in self.wired.items():
            self.wired.remove(other)
            self.owner.stir()
            if self in other.wired:
                other.wired.remove(self)
                other.owner.stir()

    def reaches_voltage(self) -> bool:
        return any(other.voltage == HIGH for other in self.wired.items())

    def reaches_ground(self, farthest: int = _FARTHEST) -> bool:
        """Whether a path leads to the cathode of a running generator."""
        for other in self.wired.items():
            owner = other.owner
            if owner.generates:
                return other.voltage == GROUND
            beyond = owner.other_terminal(other) if owner.conducts() else None
            if beyond is None:
                return False
            if farthest > 0 and beyond.reaches_ground(farthest - 1):
                return True
        return False

    def name_stamp(self) -> int:
        return self.owner.stamp

    def referents(self) -> list[str]:
        owner, shown = self.owner.name, self.shown_name()
        return [
            "terminal", self.name, f"{self.name} on {owner}", f"{owner} {self.name}", shown, f"{shown} on {owner}",
        ]  # fmt: skip

    def describe(self, mode: int = CURSORY) -> str:
        if mode == DETAILED:
            return f"a {self.shown_name()}.  it is connected to: {self.wired_to()}. "
        return f"a {self.shown_name()} on {self.owner.name}"

    def wired_to(self) -> str:
        return ", ".join(other.describe() for other in self.wired.items()) or "nothing"

    def tick(self) -> None:
        """Nothing ever happens to a terminal itself."""


def _plain_terminals(owner: Thing) -> tuple[Terminal, Terminal]:
    """The two hidden terminals of an ordinary thing, already inside it."""
    pair = Terminal(owner.state, owner, "terminal 1"), Terminal(owner.state, owner, "terminal 2")
    for terminal in pair:
        terminal.hidden = True
        owner.put(terminal)
    return pair
