"""Electricity: terminals, wires, switches, generators and what they power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlsd.envs.scienceworld.engine.materials import material
from rlsd.envs.scienceworld.engine.scala import Bag
from rlsd.envs.scienceworld.engine.thing import CURSORY, DETAILED, Device, Thing

if TYPE_CHECKING:
    from rlsd.envs.scienceworld.engine.state import State

HIGH, GROUND = 9.0, 0.0
USER, GENERATOR, SWITCH = "user", "generator", "switch"
_FARTHEST = 10
"""Parts of a circuit that are followed to ground."""


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

    def unwire(self) -> None:
        for other in self.wired.items():
            self.wired.remove(other)
            if self in other.wired:
                other.wired.remove(self)

    def reaches_voltage(self) -> bool:
        return any(other.voltage == HIGH for other in self.wired.items())

    def reaches_ground(self, farthest: int = _FARTHEST) -> bool:
        """Whether a path leads to the cathode of a running generator."""
        for other in self.wired.items():
            owner = other.owner
            if isinstance(owner, Generator):
                return other.voltage == GROUND
            conducts = isinstance(owner, (Component, Wire)) or (
                owner.material is not None and owner.material.conductive
            )
            beyond = owner.other_terminal(other) if conducts else None
            if beyond is None:
                return False
            if farthest > 0 and beyond.reaches_ground(farthest - 1):
                return True
        return False

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


def plain_terminals(owner: Thing) -> tuple[Terminal, Terminal]:
    """The two hidden terminals of an ordinary thing, already inside it."""
    pair = Terminal(owner.state, owner, "terminal 1"), Terminal(owner.state, owner, "terminal 2")
    for terminal in pair:
        terminal.hidden = True
        owner.put(terminal)
    return pair


def conduct(thing: Thing, *, activates: bool = False) -> None:
    """Pass voltage on through a thing with two like terminals."""
    if thing.terminals is None:
        return
    first, second = thing.terminals
    component = isinstance(thing, Wire)
    if not component and not (thing.material is not None and thing.material.conductive):
        first.voltage = second.voltage = None
        return
    if activates and thing.device is not None:
        thing.device.activated = False
    if not len(first.wired) and not len(second.wired):
        return
    powered = None
    if first.reaches_ground() and second.reaches_voltage():
        powered = first
    elif second.reaches_ground() and first.reaches_voltage():
        powered = second
    if powered is not None:
        powered.voltage = HIGH
        if activates and thing.device is not None:
            thing.device.activated = True


class Component(Thing):
    """What has an anode and a cathode."""

    base_name = "component"
    has_terminals = False
    role = USER
    nouns: tuple[str, ...] = ("component",)

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.device = Device()
        self.anode, self.cathode = Terminal(state, self, "anode"), Terminal(state, self, "cathode")
        self.put(self.anode)
        self.put(self.cathode)

    def shown_terminals(self, *, hidden: bool) -> tuple[Thing, ...]:
        return self.anode, self.cathode

    def connected(self) -> bool:
        return bool(len(self.anode.wired) or len(self.cathode.wired))

    def other_terminal(self, terminal: Thing) -> Any:
        return self.cathode if terminal is self.anode else self.anode if terminal is self.cathode else None

    def disconnect(self) -> None:
        self.anode.unwire()
        self.cathode.unwire()

    def tick(self) -> None:
        if self.role == USER:
            assert self.device is not None
            self.device.activated = False
            if self.anode.reaches_ground() and self.cathode.reaches_voltage():
                self.anode.voltage = HIGH
                self.device.activated = True
        super().tick()

    def referents(self) -> list[str]:
        return [*self.nouns, self.name, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        assert self.device is not None
        text = f"a {self.shown_name()}, which is {'on' if self.device.activated else 'off'}"
        return text + (f". {self._wiring()}" if mode == DETAILED else "")

    def _wiring(self) -> str:
        return (
            f"its anode is connected to: {self.anode.wired_to()}. "
            f"its cathode is connected to: {self.cathode.wired_to()}. "
        )


class LightBulb(Component):
    nouns = ("light", "light bulb")

    def __init__(self, state: State, color: str = "") -> None:
        super().__init__(state)
        self.name = f"{color} light bulb".strip()


class Switch(Component):
    """Lets nothing through while it is off."""

    base_name = "switch"
    role = SWITCH

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.device = Device(activable=True)

    def other_terminal(self, terminal: Thing) -> Any:
        assert self.device is not None
        return super().other_terminal(terminal) if self.device.activated else None


class Generator(Component):
    base_name = "generator"
    role = GENERATOR
    nouns = ("generator",)
    tells_on = True

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.device = Device(activable=True, activated=True)

    def tick(self) -> None:
        assert self.device is not None
        on = self.device.activated
        self.anode.voltage, self.cathode.voltage = (HIGH, GROUND) if on else (None, None)
        super().tick()

    def describe(self, mode: int = CURSORY) -> str:
        if self.tells_on:
            return super().describe(mode)
        return f"a {self.shown_name()}" + (f". {self._wiring()}" if mode == DETAILED else "")


class Battery(Generator):
    base_name = "battery"
    tells_on = False

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.device = Device(activated=True)


class Wire(Thing):
    """Two visible terminals, without poles."""

    base_name = "wire"

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.device, self.material = Device(), material("metal")
        assert self.terminals is not None
        for terminal in self.terminals:
            terminal.hidden = False

    def shown_terminals(self, *, hidden: bool) -> tuple[Thing, ...]:
        assert self.terminals is not None
        return self.terminals

    def tick(self) -> None:
        conduct(self, activates=True)
        super().tick()

    def referents(self) -> list[str]:
        return ["component", self.name, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        assert self.terminals is not None
        first, second = self.terminals
        if mode == CURSORY:
            return f"a {self.shown_name()}"
        return (
            f"a {self.shown_name()}its terminal 1 is connected to: {first.wired_to()}. "
            f"its terminal 2 is connected to: {second.wired_to()}. "
        )
