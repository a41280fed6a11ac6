"""A thing of the world: where it is, what it holds, what it is called, how it looks.

Every ordinary thing has two hidden electrical terminals inside, as in the original; they count as contents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlsd.envs.scienceworld.engine.materials import Material
from rlsd.envs.scienceworld.engine.scala import Bag, copied

if TYPE_CHECKING:
    from rlsd.envs.scienceworld.engine.state import State

CURSORY, DETAILED = 0, 1
_DEEPEST = 30


@dataclass(slots=True)
class Holder:
    """Whether things can be put in."""

    holds: bool
    is_open: bool
    closable: bool


def closed_holder() -> Holder:
    return Holder(True, False, True)


def open_holder() -> Holder:
    return Holder(True, True, False)


def no_holder() -> Holder:
    return Holder(False, False, False)


@dataclass(slots=True)
class Device:
    """What can be switched or used."""

    activable: bool = False
    activated: bool = False
    usable: bool = False
    broken: bool = False


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
    terminals: tuple[Any, Any] | None = None
    has_terminals = True
    can_hold = True
    portals: Bag[Any]
    is_location = False
    version = 0
    """Of a location: grows with every change of a place or a name in it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.inside: Bag[Thing] = Bag() if self.can_hold else NOTHING
        self.place: Thing | None = None
        self.name = self.base_name
        if self.has_terminals:
            from rlsd.envs.scienceworld.engine.electric import plain_terminals

            self.terminals = plain_terminals(self)
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

    def changed(self) -> None:
        """Tell that its name, its looks or its contents have changed."""
        self.state.changes += 1
        place: Thing | None = self
        for _ in range(_DEEPEST):  # what has been put into its own contents is in no room, and goes round in a circle
            if place is None:
                return
            if place.is_location:
                place.version += 1
                return
            place = place.place

    def add_portal(self, portal: Thing) -> None:
        if self.portals is NOTHING:
            self.portals = Bag()
        self.portals.add(portal)

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
        """Visible contents and portals at any depth, closed containers included."""
        out: Bag[Thing] = Bag(thing for thing in self.inside.items() if not thing.hidden)
        out.update(portal for portal in self.portals.items() if not portal.hidden)
        for thing in self.inside.items():
            if not thing.hidden:
                merged = Bag(out.items())
                merged.update(thing.deep_visible_and_portals())
                out = merged
        return Bag(out.items()).items()

    def within_reach(self, *, hidden: bool) -> list[Thing]:
        """Contents, and those of open containers, with terminals."""
        out: Bag[Thing] = Bag()
        for thing in self.inside.items():
            if thing.hidden and not hidden:
                continue
            out.add(thing)
            out.update(thing.shown_terminals(hidden=hidden))
            if thing.holder is not None and thing.holder.is_open:
                out.update(thing.within_reach(hidden=hidden))
        out.update(portal for portal in self.portals.items() if portal.hidden or hidden)
        return out.items()

    def shown_terminals(self, *, hidden: bool) -> tuple[Thing, ...]:
        return self.terminals if hidden and self.terminals is not None else ()

    def of_type(self, kind: type) -> list[Any]:
        return [thing for thing in self.inside.items() if isinstance(thing, kind)]

    def places(self) -> Iterator[Thing]:
        """Where it is, from the nearest to the whole world."""
        place = self.place
        while place is not None:
            yield place
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
        from rlsd.envs.scienceworld.engine.physics import advance

        advance(self)


NOTHING: Bag[Any] = Bag()
"""The contents of what never holds anything, and the portals of what has none; never added to."""
Thing.portals = NOTHING


def listed(things: Iterable[Thing], where: Thing, *, mode: int = CURSORY, lines: bool = False) -> str:
    """Descriptions in the order of names: joined by commas, or one a line."""
    looks = [look for thing in sorted(things, key=_name) if (look := thing.look(mode, where)) is not None]
    if not looks:
        return "\tnothing" if lines else "nothing"
    return "".join(f"\t{look}\n" for look in looks) if lines else ", ".join(looks)


def _name(thing: Thing) -> str:
    return thing.name
