"""Books, and the pictures on the walls."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

from rlsd.envs.scienceworld.engine.world.abilities import no_holder
from rlsd.envs.scienceworld.engine.world.containers import Vessel, vessel
from rlsd.envs.scienceworld.engine.world.materials import material
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, Thing

_PICTURES = ("picture", "drawing", "painting", "finger painting")
_SUBJECTS = (
    "a cow", "a chicken", "a farm", "a lush green meadow", "rolling hills", "a wintery mountain",
    "a boat crossing a river", "the moon", "abstract shapes", "two people playing",
)  # fmt: skip
_ARTISTS = ("Alexandra", "Owen", "Bob", "Lily")
_BOOKS_DRAWN = 10
"""A number from this many is drawn until it is that of a book."""


class Document(Thing):
    """What can be read."""

    title = ""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.material, self.holder = material("paper"), no_holder()

    def read(self) -> str:
        raise NotImplementedError

    def referents(self) -> list[str]:
        names = [self.name, self.shown_name()]
        return [*names, self.title, *(f"{name} called {self.title}" for name in names)]


class Book(Document):
    def __init__(self, state: State, title: str, author: str, contents: str) -> None:
        super().__init__(state)
        self.title, self.author, self.contents = title, author, contents
        self.name = f"book ({title})"

    def read(self) -> str:
        return f"The book reads:\n{self.title} by {self.author}\n{self.contents}"

    def referents(self) -> list[str]:
        shown = self.shown_name()
        return [
            "book", self.title, f"book by {self.author}", f"{self.title} book", self.name, shown,
            f"{shown} by {self.author}", f"{shown} called {self.title}",
        ]  # fmt: skip

    def describe(self, mode: int = CURSORY) -> str:
        return f"A {self.shown_name()} titled {self.title} by {self.author}"


class Paper(Document):
    """Blank paper, white or of a color."""

    def __init__(self, state: State, color: str = "") -> None:
        super().__init__(state)
        self.color, self.name = color, f"{color} paper".strip()

    def read(self) -> str:
        return "The paper does not have any text on it."

    def describe(self, mode: int = CURSORY) -> str:
        return f"A {'' if self.color else 'blank '}{self.shown_name()}"


class Recipe(Document):
    base_name = "recipe"

    def __init__(self, state: State, product: str, ingredients: tuple[str, ...]) -> None:
        super().__init__(state)
        self.title = f"instructions to make {product}"
        self.contents = f"To make {product}, you need to mix {', '.join(ingredients)}."

    def read(self) -> str:
        return f"The recipe reads:\n{self.contents}"

    def describe(self, mode: int = CURSORY) -> str:
        return f"A {self.shown_name()} titled {self.title}"


@lru_cache(maxsize=1)
def _books() -> list[dict[str, str]]:
    text = (files("rlsd.envs.scienceworld.engine.world") / "books.json").read_text(encoding="utf-8")
    return json.loads(text)


def book(state: State, title: str) -> Book:
    """The book whose title ends so."""
    return Book(state, **next(facts for facts in _books() if facts["title"].endswith(title)))


def random_book(state: State) -> Book:
    books = _books()
    while (drawn := state.random.below(_BOOKS_DRAWN)) >= len(books):
        pass
    return Book(state, **books[drawn])


def random_shelf(state: State) -> Vessel:
    """With up to three books."""
    count = state.random.below(4)
    shelf = vessel(state, "book shelf")
    for _ in range(count):
        shelf.put(random_book(state))
    return shelf


class Picture(Thing):
    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.material, self.holder = material("paper"), no_holder()
        draw = state.random
        self.name, self.subject, self.artist = draw.choice(_PICTURES), draw.choice(_SUBJECTS), draw.choice(_ARTISTS)

    def referents(self) -> list[str]:
        shown = self.shown_name()
        return [self.name, f"{self.name} of {self.subject}", shown, f"{shown} of {self.subject}"]

    def describe(self, mode: int = CURSORY) -> str:
        shown = self.shown_name()
        if mode == CURSORY:
            return f"a {shown}"
        return f"a {shown} of {self.subject}.  The artist is listed as {self.artist}. "
