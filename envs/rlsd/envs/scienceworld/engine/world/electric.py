"""Electricity: wires, switches, generators and what they power."""

from __future__ import annotations

from itertools import islice
from typing import Any

from rlsd.envs.scienceworld.engine.world.abilities import Device
from rlsd.envs.scienceworld.engine.world.materials import material
from rlsd.envs.scienceworld.engine.world.places import Outside
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, DETAILED, GROUND, HIGH, Terminal, Thing

USER, GENERATOR, SWITCH = "user", "generator", "switch"
_DEEPEST = 10
"""Containers around a generator that are looked at."""


def conduct(thing: Thing, *, activates: bool = False) -> None:
    """Pass voltage on through a thing with two like terminals."""
    if thing.terminals is None:
        return
    first, second = thing.terminals
    if not thing.conducts():
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

    def conducts(self) -> bool:
        return True

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

    def is_idle(self) -> bool:
        assert self.device is not None
        return not self.is_live() and not (self.role == USER and self.device.activated)

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


class Motor(Component):
    """A motor, or a buzzer."""

    def __init__(self, state: State, word: str = "motor") -> None:
        super().__init__(state)
        self.name, self.nouns = f"electric {word}", (word, f"electric {word}")


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
    generates = True
    nouns = ("generator",)
    tells_on = True

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.device = Device(activable=True, activated=True)

    def tick(self) -> None:
        self.anode.voltage, self.cathode.voltage = self._voltages()
        super().tick()

    def is_idle(self) -> bool:
        return super().is_idle() and (self.anode.voltage, self.cathode.voltage) == self._voltages()

    def _voltages(self) -> tuple[float, float] | tuple[None, None]:
        assert self.device is not None
        return (HIGH, GROUND) if self.device.activated else (None, None)

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


class FuelGenerator(Generator):
    """Off until it is switched on.

    Example: FuelGenerator(state, "gas generator")
    """

    def __init__(self, state: State, name: str) -> None:
        super().__init__(state)
        self.name, self.device = name, Device(activable=True)


class OutdoorGenerator(Generator):
    """Runs by itself outside, on or in open things only.

    Example: OutdoorGenerator(state, "solar panel")
    """

    def __init__(self, state: State, name: str) -> None:
        super().__init__(state)
        self.name, self.device = name, Device()

    def tick(self) -> None:
        assert self.device is not None
        self.device.activated = self._is_outside()
        super().tick()

    def is_idle(self) -> bool:
        assert self.device is not None
        return super().is_idle() and self.device.activated == self._is_outside()

    def _is_outside(self) -> bool:
        for place in islice(self.places(), _DEEPEST):
            if isinstance(place, Outside):
                return True
            if place.holder is None or not place.holder.is_open:
                return False
        return False


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

    def conducts(self) -> bool:
        return True

    def tick(self) -> None:
        conduct(self, activates=True)
        super().tick()

    def is_idle(self) -> bool:
        assert self.device is not None
        return not self.is_live() and not self.device.activated

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
