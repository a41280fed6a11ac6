"""Substances, food, blocks, cutlery: things that differ in facts alone, from one table."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.envs.scienceworld.engine.world.materials import material
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`looks`: its description, "{}" is its shown name; `alias`: another name it goes by."""

    name: str
    material: str | None = None
    nouns: tuple[str, ...] = ()
    looks: str = "a {}"
    alias: str = ""
    shows_alias: str = ""
    """The name that the description shows instead of its own."""
    edible: bool | None = None


class Plain(Thing):
    """A thing without behaviour of its own."""

    def __init__(self, state: State, key: str) -> None:
        super().__init__(state)
        self.key, self.kind = key, KINDS[key]
        self.name, self.edible = self.kind.name, self.kind.edible
        if self.kind.material is not None:
            self.material = material(self.kind.material)

    def referents(self) -> list[str]:
        kind = self.kind
        names = [*kind.nouns, self.name, self.shown_name()]
        return [*names, kind.alias, self.shown_name(kind.alias)] if kind.alias else names

    def describe(self, mode: int = CURSORY) -> str:
        return self.kind.looks.format(self.shown_name(self.kind.shows_alias))


def make(state: State, key: str) -> Plain:
    """A new thing of the table."""
    return Plain(state, key)


class UnknownSubstance(Thing):
    """A metal that goes by a letter."""

    def __init__(self, state: State, letter: str) -> None:
        super().__init__(state)
        self.name, self.material = f"unknown substance {letter}", material("metal")

    def referents(self) -> list[str]:
        return [self.name, "unknown substance", self.shown_name()]

    def describe(self, mode: int = CURSORY) -> str:
        return self.name


def is_kind(thing: Thing, key: str) -> bool:
    return isinstance(thing, Plain) and thing.key == key


def _substance(name: str, stuff: str | None = None) -> Kind:
    looks = "a substance called {}"
    return Kind(name=name, material=stuff or name, nouns=("substance",), looks=looks)


def _block(name: str, stuff: str) -> Kind:
    return Kind(name=name, material=stuff, nouns=("block",))


def _food(name: str, stuff: str | None = None, *, looks: str = "{}", alias: str = "", shown: str = "") -> Kind:
    return Kind(
        name=name, material=stuff, nouns=(name,), looks=looks, alias=alias, shows_alias=shown, edible=True
    )  # fmt: skip


def _paint(color: str, stuff: str) -> Kind:
    return Kind(name=f"{color} paint", material=stuff, nouns=("paint",), looks="{}")


KINDS: dict[str, Kind] = {
    **{
        name: _substance(name)
        for name in (
            "air", "water", "lead", "tin", "mercury", "gallium", "caesium", "soap", "rubber", "wood", "ash", "sodium",
            "sodium chloride", "salt water", "soapy water", "sodium bicarbonate", "acetic acid", "sodium acetate",
            "rust", "sugar",
        )
    },
    "sugar water": _substance("sugar water", "sugar"),
    "ice": _substance("water"),
    "brick": Kind(name="brick", material="brick", nouns=("substance",)),
    "wood block": _block("wood block", "wood"),
    "steel block": _block("steel block", "steel"),
    "iron block": _block("iron block", "iron"),
    "metal fork": Kind(name="metal fork", material="steel", nouns=("steel fork",), looks="A {}"),
    "plastic fork": Kind(name="plastic fork", material="plastic", nouns=("plastic fork",), looks="A {}"),
    "paper clip": Kind(name="paper clip", material="steel", nouns=("steel paper clip",), looks="A {}"),
    "aluminum foil": Kind(name="aluminum foil", material="aluminum", looks="A {}"),
    "soil": Kind(name="soil", material="soil", nouns=("soil",), looks="{}"),
    "pillow": Kind(name="pillow", material="cotton cloth", nouns=("object",), looks="a white {}"),
    "apple": _food("apple", looks="a {}", alias="red apple", shown="red apple"),
    "apricot": _food("apricot", "plant matter", looks="a {}", alias="orange apricot", shown="orange apricot"),
    "avocado": _food("avocado", looks="an {}"),
    "banana": _food("banana", looks="a {}"),
    "cherry": _food("cherry", looks="a {}"),
    "lemon": _food("lemon", looks="a {}"),
    "orange": _food("orange", looks="an {}"),
    "grapefruit": _food("grapefruit", looks="an {}"),
    "peach": _food("peach", looks="a {}"),
    "pear": _food("pear", looks="a {}"),
    "orange juice": _food("orange juice", "orange juice"),
    "apple juice": _food("apple juice", "apple juice"),
    "onion": _food("onion", looks="a {}", alias="red onion", shown="red onion"),
    "garlic": _food("garlic"),
    "potato": _food("potato", looks="a {}"),
    "chocolate": _food("chocolate", "chocolate"),
    "marshmallow": _food("marshmallow", "marshmallow"),
    "smores": _food("smores", "marshmallow"),
    "ice cream": _food("ice cream", "ice cream"),
    "flour": _food("flour", "flour", alias="white flour", shown="flour"),
    "dough": _food("dough", "flour", alias="white dough", shown="dough"),
    "bread": _food("bread", "flour", alias="white bread", shown="bread"),
    "jam": _food("jam", "jam", alias="red jam", shown="red jam"),
    "peanut": _food("peanut", "nut", shown="peanut"),
    "cashew": _food("cashew", "nut", shown="cashew"),
    "almond": _food("almond", "nut", shown="almond"),
    "mixed nuts": _food("mixed nuts", "nut", shown="mixed nuts"),
    "fruit salad": _food("fruit salad", "plant matter", shown="fruit salad"),
    **{
        f"{color} paint": _paint(color, f"{color} paint")
        for color in ("red", "blue", "yellow", "violet", "green", "orange", "brown")
    },
    **{
        f"{color} paint": _paint(color, f"{color} paint".replace("-", " "))
        for color in ("yellow-orange", "red-orange", "violet-red", "blue-violet", "green-blue", "yellow-green")
    },
    **{
        f"{kind} sandwich": Kind(
            name=f"{kind} sandwich",
            material="flour",
            nouns=("sandwich",),
            looks="{}",
            alias=f"{kind} sandwich",
            shows_alias=f"{kind} sandwich",
            edible=True,
        )
        for kind in ("peanut butter", "jam", "banana", "peanut butter with jam", "peanut butter with banana")
    },
}  # fmt: skip
