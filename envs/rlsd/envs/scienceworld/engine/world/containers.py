"""Containers and furniture."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.abilities import closed_holder, open_holder
from rlsd.envs.scienceworld.engine.world.listed import listed
from rlsd.envs.scienceworld.engine.world.materials import material
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import is_kind, make
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, DETAILED, Thing


class Container(Thing):
    """Holds things; named by its nouns, and by its contents where `tells_contents`."""

    base_name = "container"
    nouns: tuple[str, ...] = ("container",)
    made_of: str | None = None
    opens = False
    """It has a lid or a door, closed at first."""
    tells_contents = False

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.holder = closed_holder() if self.opens else open_holder()
        if self.made_of is not None:
            self.material = material(self.made_of)

    def referents(self) -> list[str]:
        names = [*self.nouns, self.name, self.shown_name()]
        if not self.tells_contents:
            return names
        held = sorted({thing.shown_name() for thing in self.visible()})
        contents = " and ".join(held) or "nothing"
        return [name for noun in dict.fromkeys(names) for name in (noun, f"{noun} containing {contents}")]

    def describe(self, mode: int = CURSORY) -> str:
        return f"a {self.shown_name()} (containing {listed(self.inside_and_portals(), self)})"

    def _contents(self, mode: int, preposition: str) -> str:
        """As "On the table is: ...", in one line or one thing a line."""
        begin = f"{preposition} the {self.shown_name()} is: "
        if mode == DETAILED:
            return f"{begin}\n{listed(self.inside.items(), self, lines=True)}"
        return f"{begin}{listed(self.inside.items(), self)}."


class Vessel(Container):
    """Cups, pots, jugs, shelves: told apart by what is in them.

    Example: Vessel(state, "glass cup", ("cup", "glass cup"), "glass")
    """

    tells_contents = True

    def __init__(self, state: State, name: str, nouns: tuple[str, ...], made_of: str, *, opens: bool = False) -> None:
        self.made_of, self.opens, self.nouns = made_of, opens, nouns
        super().__init__(state)
        self.name = name


_VESSELS: dict[str, tuple[tuple[str, ...], str]] = {
    "metal pot": (("pot", "metal pot"), "steel"),
    "glass cup": (("cup", "glass cup"), "glass"),
    "plastic cup": (("cup", "plastic cup"), "plastic"),
    "wood cup": (("cup", "wood cup"), "wood"),
    "tin cup": (("cup", "tin cup"), "tin"),
    "paper cup": (("cup", "paper cup"), "paper"),
    "ceramic cup": (("cup", "ceramic cup"), "ceramic"),
    "bowl": (("bowl", "wood bowl"), "wood"),
    "jug": (("jug",), "plastic"),
    "glass jar": (("jar", "glass jar"), "glass"),
    "book shelf": (("shelf", "book shelf"), "wood"),
}


def vessel(state: State, name: str, *contents: Thing) -> Vessel:
    """A vessel by name, with contents; only the glass jar has a lid."""
    nouns, made_of = _VESSELS[name]
    made = Vessel(state, name, nouns, made_of, opens=name == "glass jar")
    for thing in contents:
        made.put(thing)
    return made


class FlowerPot(Vessel):
    """`waters_itself`: always; otherwise under the simplification selfWateringFlowerPots."""

    waters_itself = False

    def __init__(self, state: State, name: str = "flower pot") -> None:
        super().__init__(state, name, ("pot", "flower pot"), "ceramic")

    def tick(self) -> None:
        if self._is_watered():
            add_water(self)
        super().tick()

    def is_idle(self) -> bool:
        return not self._is_watered() or has_water(self)

    def _is_watered(self) -> bool:
        return self.waters_itself or "selfwateringflowerpots" in self.state.simplifications


class SelfWateringFlowerPot(FlowerPot):
    waters_itself = True


class Basin(Container):
    """A fountain, a fire pit, the sewer, an answer box: open, known by few names.

    Example: Basin(state, "fountain", "ceramic", ("fountain",))
    """

    def __init__(self, state: State, name: str, made_of: str | None, nouns: tuple[str, ...] = ()) -> None:
        self.made_of, self.nouns = made_of, nouns
        super().__init__(state)
        self.name = name


class Fountain(Basin):
    def __init__(self, state: State) -> None:
        super().__init__(state, "fountain", "ceramic", ("fountain",))

    def tick(self) -> None:
        add_water(self)
        super().tick()

    def is_idle(self) -> bool:
        return has_water(self)


class AnswerBox(Basin):
    def __init__(self, state: State, color: str) -> None:
        super().__init__(state, f"{color} box", "ceramic")


def add_water(holder: Thing) -> None:
    """Water, if there is none in it."""
    if not has_water(holder):
        holder.put(make(holder.state, "water"))


def has_water(holder: Thing) -> bool:
    return any(is_kind(thing, "water") for thing in holder.inside.items())


class Table(Container):
    """Tables, desks and counters; things lie on them.

    Example: Table(state, "table", "wood", "table")
    """

    def __init__(self, state: State, name: str, made_of: str = "wood", *, drawer: bool = False) -> None:
        self.made_of, self.nouns = made_of, (name, f"{made_of} {name}")
        super().__init__(state)
        self.name = name
        if drawer:
            self.put(Drawer(state))

    def describe(self, mode: int = CURSORY) -> str:
        return f"a {self.shown_name()}. {self._contents(mode, 'On')}"


class Cabinet(Container):
    """Cupboards, closets and bee hives: what is in them is seen when the door is open."""

    opens = True
    made_of = "wood"

    def __init__(self, state: State, name: str, nouns: tuple[str, ...], *, drawer: bool = False) -> None:
        self.nouns = nouns
        super().__init__(state)
        self.name = name
        if drawer:
            self.put(Drawer(state))

    def describe(self, mode: int = CURSORY) -> str:
        assert self.holder is not None
        shown = self.shown_name()
        text = f"a {shown}. The {shown} door is {'open' if self.holder.is_open else 'closed'}. "
        return text + (self._contents(mode, "In") if self.holder.is_open else "")


class Drawer(Container):
    base_name = "drawer"
    nouns = ("drawer", "wood table")
    opens = True
    made_of = "wood"

    def describe(self, mode: int = CURSORY) -> str:
        assert self.holder is not None
        text = f"a {self.shown_name()}"
        if mode == CURSORY:
            return text
        return f"{text}. " + (self._contents(mode, "In") if self.holder.is_open else " The drawer is closed.")


class Seat(Container):
    """Chairs, couches, beds, mattresses."""

    def __init__(self, state: State, name: str, stuff: str = "wood") -> None:
        self.made_of = stuff
        self.nouns = ("sittable", f"{material(stuff).substance} sittable")
        super().__init__(state)
        self.name = name

    def describe(self, mode: int = CURSORY) -> str:
        shown = self.shown_name()
        return f"a {shown}. On the {shown} is: {listed(self.inside_and_portals(), self)}."


def couch(state: State) -> Seat:
    made = Seat(state, "couch", "cotton cloth")
    made.put(make(state, "pillow"))
    return made


def bed(state: State) -> Seat:
    made, mattress = Seat(state, "bed"), Seat(state, "mattress", "cotton cloth")
    made.put(mattress)
    mattress.put(make(state, "pillow"))
    return made


class Hole(Container):
    base_name = "hole"
    nouns = ("hole",)

    def describe(self, mode: int = CURSORY) -> str:
        return f"a {self.shown_name()} (containing {listed(self.inside.items(), self)})"
