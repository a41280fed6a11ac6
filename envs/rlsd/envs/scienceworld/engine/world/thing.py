"""A thing of the world: what it is called, how it looks, what happens to it; where it is and what it holds: `contents`.

Every ordinary thing has two hidden electrical terminals inside, as in the original; they are things and count as
contents.
"""

from __future__ import annotations

from typing import Any

from rlsd.envs.scienceworld.engine.world.abilities import Device, Holder
from rlsd.envs.scienceworld.engine.world.contents import NOTHING, Contents
from rlsd.envs.scienceworld.engine.world.materials import Material
from rlsd.envs.scienceworld.engine.world.scala import Bag
from rlsd.envs.scienceworld.engine.world.state import State

CURSORY, DETAILED = 0, 1
HIGH, GROUND = 9.0, 0.0
"""Voltages of a running generator: at its anode, at its cathode."""
_FARTHEST = 10
"""Parts of a circuit that are followed to ground."""


class Thing(Contents):
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
    counts = False
    """In a tick it may do no more than count: it has `only_counts` and `count`."""
    roams = False
    """It is `roaming.Roaming`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.inside: Bag[Thing] = Bag() if self.can_hold else NOTHING
        self.place: Thing | None = None
        self.name = self.base_name
        if self.has_terminals:
            self.terminals = _plain_terminals(self)
        self.number = state.next_number()

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
