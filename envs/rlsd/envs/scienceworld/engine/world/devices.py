"""Appliances, plumbing, instruments and tools."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from rlsd.envs.scienceworld.engine.world.abilities import Device, closed_holder, no_holder, open_holder
from rlsd.envs.scienceworld.engine.world.containers import Hole, add_water
from rlsd.envs.scienceworld.engine.world.heat import cool_down, heat_up
from rlsd.envs.scienceworld.engine.world.listed import listed
from rlsd.envs.scienceworld.engine.world.materials import material
from rlsd.envs.scienceworld.engine.world.physics import ignite
from rlsd.envs.scienceworld.engine.world.places import Drain, Ground
from rlsd.envs.scienceworld.engine.world.plants import Tree
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, DETAILED, Thing


class Appliance(Thing):
    """Changes what is in or on it while it is on, and stays where it is."""

    movable = False
    noun = ""
    extreme = 0.0
    """How hot or cold it gets, in °C."""

    def tick(self) -> None:
        if self.source() is not None:
            for thing in self.inside.items():
                self.change(thing)
        super().tick()

    def is_idle(self) -> bool:
        return True  # what it does to its contents is heat

    def source(self) -> float | None:
        assert self.device is not None
        return self.extreme if self.device.activated else None

    def referents(self) -> list[str]:
        return [self.noun, self.name, self.shown_name()]


class Heater(Appliance):
    """Heats; `opens`: it has a door."""

    def __init__(self, state: State, name: str, noun: str, hottest: float, *, opens: bool) -> None:
        super().__init__(state)
        self.name, self.noun, self.opens = name, noun, opens
        self.extreme = self.hottest = hottest
        self.holder, self.device = closed_holder() if opens else open_holder(), Device(activable=True)

    def change(self, thing: Thing) -> None:
        heat_up(thing, self.hottest)

    def describe(self, mode: int = CURSORY) -> str:
        assert self.device is not None
        assert self.holder is not None
        shown = self.shown_name()
        text = f"a {shown}, which is turned {'on' if self.device.activated else 'off'}. "
        held = self.inside_and_portals()
        if not self.opens:
            return f"{text}On the {self.name} is: {listed(held, self)}."
        text += f"The {shown} door is {'open' if self.holder.is_open else 'closed'}. "
        if not self.holder.is_open:
            return text
        if mode == DETAILED:
            return f"{text}In the {shown} is: \n{listed(held, self, lines=True)}"
        return f"{text}In the {shown} is: {listed(held, self)}."


class Cooler(Appliance):
    """Cools; it is on at first."""

    def __init__(self, state: State, name: str, noun: str, coldest: float) -> None:
        super().__init__(state)
        self.name, self.noun = name, noun
        self.extreme = self.coldest = coldest
        self.holder, self.device = closed_holder(), Device(activable=True, activated=True)

    def change(self, thing: Thing) -> None:
        cool_down(thing, self.coldest)

    def describe(self, mode: int = CURSORY) -> str:
        assert self.device is not None
        assert self.holder is not None
        shown = self.shown_name()
        text = f"a {shown}{'' if self.device.activated else ', which is turned off'}. "
        text += f"The {shown} door is {'open' if self.holder.is_open else 'closed'}. "
        held = f"In the {shown} is: {listed(self.inside_and_portals(), self)}."
        return text + (held if self.holder.is_open else "")


class Plumbing(Thing):
    """Sink and bathtub: water for themselves and the open containers in them while they are on."""

    movable = False

    def __init__(self, state: State, name: str, made_of: str, sewer: Thing) -> None:
        super().__init__(state)
        self.name, self.material, self.holder = name, material(made_of), open_holder()
        self.device = Device(activable=True)
        self.drain = Drain(state, self, sewer, is_open=True)
        self.add_portal(self.drain)

    def tick(self) -> None:
        assert self.device is not None
        if self.device.activated:
            self._fill()
        super().tick()

    def is_idle(self) -> bool:
        assert self.device is not None
        return not self.device.activated

    def _fill(self) -> None:
        for thing in self.inside.items():
            if thing.holder is not None and thing.holder.holds and thing.holder.is_open:
                add_water(thing)
        add_water(self)

    def referents(self) -> list[str]:
        return [self.name, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        assert self.device is not None
        shown = self.shown_name()
        text = f"a {shown}, which is turned {'on' if self.device.activated else 'off'}. "
        text += f"In the {shown} is: {listed(self.inside.items(), self)}."
        if mode == DETAILED:
            text += f" The {self.drain.name} is {'open' if self.drain.is_open else 'closed'}."
        return text


class Toilet(Plumbing):
    """Flushes for five ticks; else its drain is closed."""

    def __init__(self, state: State, sewer: Thing) -> None:
        super().__init__(state, "toilet", "steel", sewer)
        self.flushing = 0
        self.put(make(state, "water"))

    def tick(self) -> None:
        assert self.device is not None
        if self.device.activated and self.flushing == 0:
            self.flushing, self.drain.is_open = 1, True
        if self.flushing > 0:
            self._fill()
            self.flushing += 1
            if self.flushing > 5:
                self.device.activated, self.flushing = False, 0
        if self.flushing == 0:
            self.drain.is_open = False
        Thing.tick(self)

    def is_idle(self) -> bool:
        return super().is_idle() and self.flushing == 0 and not self.drain.is_open

    def describe(self, mode: int = CURSORY) -> str:
        shown = self.shown_name()
        text = f"a {shown}{', which is flushing' if self.flushing > 0 else ''}. "
        return f"{text}In the {shown} is: {listed(self.inside_and_portals(), self)}."


class Tool(Thing):
    """What is used on something else."""

    def __init__(self, state: State, name: str, made_of: str, article: str = "a") -> None:
        super().__init__(state)
        self.name, self.article, self.material = name, article, material(made_of)
        self.holder, self.device = no_holder(), Device(usable=True)

    def referents(self) -> list[str]:
        return [self.name, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        return f"{self.article} {self.shown_name()}"


class Thermometer(Tool):
    def __init__(self, state: State) -> None:
        super().__init__(state, "thermometer", "glass")

    def use_on(self, thing: Thing) -> str:
        if thing.material is None:
            return "That thing doesn't appear to have a temperature that the thermometer can read. "
        return f"the thermometer measures a temperature of {degrees(thing.temperature())}"

    def describe(self, mode: int = CURSORY) -> str:
        return f"a {self.shown_name()}, currently reading a temperature of {degrees(self.temperature())}"


def degrees(temperature: float) -> str:
    """Whole degrees; halves are rounded away from zero."""
    return f"{Decimal(repr(temperature)).quantize(Decimal(1), ROUND_HALF_UP)} degrees celsius"


class Lighter(Tool):
    hottest = 2200.0

    def __init__(self, state: State) -> None:
        super().__init__(state, "lighter", "metal")

    def use_on(self, thing: Thing) -> str:
        stuff = thing.material
        if stuff is None:
            return "It's not clear how to use those items together."
        if stuff.combustion_point <= self.hottest:
            return ignite(thing)
        thing.stir()
        stuff.temperature += max(0.0, min(10.0, self.hottest - stuff.temperature))
        return f"The lighter heats up the {thing.name} a small amount."


class Shovel(Tool):
    def __init__(self, state: State) -> None:
        super().__init__(state, "shovel", "steel")

    def use_on(self, thing: Thing) -> str | None:
        if not isinstance(thing, Ground) or thing.place is None:
            return None
        where = thing.place
        where.put(Hole(self.state))
        where.put(make(self.state, "soil"))
        return "You dig a hole in the ground, and place the soil nearby."


class Axe(Tool):
    def __init__(self, state: State) -> None:
        super().__init__(state, "axe", "steel", "an")

    def use_on(self, thing: Thing) -> str | None:
        if isinstance(thing, Tree):
            if thing.place is None:
                return None
            if thing.is_seed():
                return "You can't chop a seed."
            thing.place.put(make(self.state, "wood"))
            name = thing.shown_name()
            thing.delete(expel=True)
            return f"You chop down the {name}, creating wood."
        if thing.device is None:
            return None
        thing.device.broken = True
        return f"You hit the {thing.name} with the axe, causing it to break."


class StopWatch(Thing):
    base_name = "stopwatch"
    counts = True

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.holder, self.device = no_holder(), Device(activable=True)
        self.running = self.reading = 0

    def tick(self) -> None:
        self.count()
        super().tick()

    def only_counts(self) -> bool:
        return True

    def count(self) -> None:
        assert self.device is not None
        if self.device.activated:
            self.running += 1
            self.reading = self.running
        else:
            self.running = 0

    def referents(self) -> list[str]:
        return ["stopwatch", "watch", "timer", self.name, self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        assert self.device is not None
        text = f"a {self.shown_name()}, which is {'activated' if self.device.activated else 'deactivated'}. "
        return text + (f"The time reads {self.reading} ticks." if mode == DETAILED else "")
