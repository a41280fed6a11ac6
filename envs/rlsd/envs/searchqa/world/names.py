"""Invented names. Each split draws from its own share of all names, so that splits share no entity."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import lru_cache

from rlsd.envs.errors import EnvError

_ONSETS = ("b", "br", "c", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v")
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ia", "eo")
_CODAS = ("", "l", "n", "r", "s", "th", "nd", "rn", "m", "x")
_TOWNS = ("ford", "haven", "mere", "wick", "stead", "holm", "gate", "burn", "fell", "march")
_REGIONS = ("vale", "shire", "reach", "moor", "land", "coast")
_RIVERS = ("River {}", "{} Beck", "{} Water")
_SCHOOLS = ("Academy", "College", "Institute", "School")
_ADJECTIVES = (
    "Amber", "Broken", "Silent", "Crooked", "Distant", "Gilded", "Hollow", "Iron", "Last", "Lesser", "Northern",
    "Painted", "Quiet", "Restless", "Scarlet", "Second", "Sleeping", "Sunken", "Tall", "Unsent", "Velvet", "Wandering",
    "White", "Winter",
)  # fmt: skip
_NOUNS = (
    "Anchor", "Bridge", "Candle", "Clock", "Comet", "Door", "Falcon", "Garden", "Harbour", "Key", "Lantern", "Letter",
    "Mill", "Mirror", "Orchard", "River", "Road", "Ship", "Staircase", "Stone", "Tower", "Violin", "Well", "Window",
)  # fmt: skip
EIGHTHS = 8


def eighth(name: str) -> int:
    """The share (0 to 7) of a name; platform-independent."""
    return hashlib.sha256(name.encode()).digest()[0] % EIGHTHS


def on_shelf(name: str, shelf: tuple[int, int]) -> bool:
    """Whether a name is on shelf (number, of how many); independent of its eighth."""
    return hashlib.sha256(name.encode()).digest()[1] % shelf[1] == shelf[0]


@lru_cache(maxsize=64)
def _words(purpose: str, count: int) -> tuple[str, ...]:
    """`count` invented words of two syllables, all different; a shorter list is a prefix of a longer one."""
    draw = random.Random(f"rlsd names {purpose}")
    words: dict[str, None] = {}
    while len(words) < count:
        word = draw.choice(_ONSETS) + draw.choice(_VOWELS) + draw.choice(_ONSETS[:12:2]) + draw.choice(_VOWELS[:5])
        words[(word + draw.choice(_CODAS)).capitalize()] = None
    return tuple(words)


class Names:
    """Draws names without replacement.

    Args:
        draw: random generator of the volume.
        pool: size of the word lists for names; small lists make names similar.
        parts: half-open range of eighths the split owns.
        shelf: the volume's share of them.
    """

    def __init__(self, draw: random.Random, *, pool: int, parts: tuple[int, int], shelf: tuple[int, int]) -> None:
        self._draw, self._shelf = draw, shelf
        self._pool = pool
        self._parts = parts
        self._used: set[str] = set()

    def person(self) -> str:
        first_names, family_names = _words("given", self._pool), _words("family", 2 * self._pool)
        return self._new(lambda: f"{self._draw.choice(first_names)} {self._draw.choice(family_names)}")

    def town(self) -> str:
        return self._new(lambda: self._draw.choice(_words("town", 3 * self._pool)) + self._draw.choice(_TOWNS))

    def region(self) -> str:
        return self._new(lambda: self._draw.choice(_words("region", 2 * self._pool)) + self._draw.choice(_REGIONS))

    def river(self) -> str:
        words = _words("river", 3 * self._pool)
        return self._new(lambda: self._draw.choice(_RIVERS).format(self._draw.choice(words)))

    def work(self) -> str:
        owners = _words("owner", self._pool)
        return self._new(
            lambda: f"The {self._draw.choice(_ADJECTIVES)} {self._draw.choice(_NOUNS)} of {self._draw.choice(owners)}"
        )

    def academy(self) -> str:
        words = _words("academy", 3 * self._pool)
        return self._new(lambda: f"{self._draw.choice(words)} {self._draw.choice(_SCHOOLS)}")

    def fair(self) -> str:
        words = _words("fair", 3 * self._pool)
        return self._new(lambda: f"{self._draw.choice(words)} Fair of {self._draw.randint(1500, 1899)}")

    def _new(self, make: Callable[[], str]) -> str:
        for _ in range(10_000):
            name = make()
            mine = self._parts[0] <= eighth(name) < self._parts[1] and on_shelf(name, self._shelf)
            if mine and name not in self._used:
                self._used.add(name)
                return name
        raise EnvError(f"no new name like {make()!r} in a pool of {self._pool}; raise WorldConfig.pool")
