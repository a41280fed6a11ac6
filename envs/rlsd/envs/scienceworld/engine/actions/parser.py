"""What an input can mean: every action and every choice of things that its words fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rlsd.envs.scienceworld.engine.actions.table import ACTIONS, Action
from rlsd.envs.scienceworld.engine.world.places import Portal
from rlsd.envs.scienceworld.engine.world.scala import hash_map_order
from rlsd.envs.scienceworld.engine.world.thing import Thing

_OFTEN = 6
"""Times a pool is asked until it pays to sort it by names."""
_STOP = frozenset(("a", "an", "the"))


@dataclass(frozen=True, slots=True)
class Meaning:
    action: Action
    things: tuple[Thing, ...]

    def told(self, room: Thing) -> str:
        """As a choice in a question: words, and things with all they are in, up to the room."""
        parts = []
        for i, words in enumerate(self.action.words):
            parts.append(words[0])
            if i < len(self.things):
                parts.append(_told(self.things[i], room))
        return " ".join(parts)


def _told(thing: Thing, room: Thing) -> str:
    around = []
    place = thing.place
    while place is not None:
        around.append(f"in {place.name}")
        if place is room:
            break
        place = place.place
    return f"{thing.shown_name()} ({', '.join(around)})" if around else thing.shown_name()


@lru_cache(maxsize=65_536)
def _named(name: str) -> str:
    """A name as inputs are compared with it; "" for none."""
    return tokens(name.lower()) if name.strip() else ""


@lru_cache(maxsize=16_384)
def tokens(text: str) -> str:
    """Words with single spaces, without articles."""
    return " ".join(word for word in _spaced(text).split(" ") if word not in _STOP)


def _spaced(text: str) -> str:
    return _SPACES.sub(" ", text.strip(_BLANK))


_SPACES = re.compile(r"[ \t\n\x0b\f\r]+")
_BLANK = "".join(map(chr, range(33)))


class Pool:
    """Things that can be referred to, by their names without what they are in."""

    def __init__(self, things: Sequence[Thing], room: Thing) -> None:
        self._things = [(thing, _words(thing, room)) for thing in things]
        self._asked = 0
        self._by_name: dict[str, list[tuple[int, Thing]]] = {}
        self._lengths: list[int] = []

    def begin(self, text: str) -> list[tuple[Thing, list[str]]]:
        """Things with those of their names that a text begins with, in order."""
        self._asked += 1
        if self._asked <= _OFTEN:
            return [
                (thing, [name for name in names if text.startswith(name)])
                for thing, names in self._things
                if text.startswith(names)
            ]
        if not self._by_name:
            for i, (thing, names) in enumerate(self._things):
                for name in names:
                    self._by_name.setdefault(name, []).append((i, thing))
            self._lengths = sorted(set(map(len, self._by_name)))
        return self._looked_up(text)

    def _looked_up(self, text: str) -> list[tuple[Thing, list[str]]]:
        found: dict[int, tuple[Thing, list[str]]] = {}
        for length in self._lengths:
            name = text[:length]
            for i, thing in self._by_name.get(name, ()) if length <= len(text) else ():
                found.setdefault(i, (thing, []))[1].append(name)
        return [found[i] for i in sorted(found)]


def meanings(
    text: str, near: Callable[[], Pool], everywhere: Callable[[], Pool], known: Sequence[str]
) -> list[Meaning]:
    """All meanings of an input, in the order in which a question lists them.

    Args:
        near: gives what can be referred to.
        everywhere: the same for teleporting.
        known: names of the actions.
    """
    said = tokens(text.lower())
    found: dict[str, list[Meaning]] = {}
    for name in known:
        action = ACTIONS[name]
        if not said.startswith(action.words[0]):
            continue
        pool = everywhere() if name == "teleport to location" else near()
        matches = list(dict.fromkeys(_fit(said, action, 0, pool)))
        if matches:
            found[name] = [Meaning(action, match) for match in matches]
    return [meaning for name in hash_map_order(found) for meaning in found[name]]


def _fit(text: str, action: Action, part: int, pool: Pool) -> Iterator[tuple[Thing, ...]]:
    """Choices of things that the rest of an input fits, from word group `part` on."""
    if part == len(action.words):
        if not text.strip(_BLANK):
            yield ()
        return
    for words in action.words[part]:
        if text.startswith(words):
            rest = text[len(words) :].strip(_BLANK)
            if part < action.things:
                for thing, after in _refer(rest, pool):
                    for others in _fit(after, action, part + 1, pool):
                        yield (thing, *others)
            else:
                yield from _fit(rest, action, part + 1, pool)


def _refer(text: str, pool: Pool) -> Iterator[tuple[Thing, str]]:
    """Things whose names the text begins with, and what follows the name."""
    for thing, names in pool.begin(text):
        ends = set()
        for name in names:
            if len(name) > 1:
                ends.add(len(name))
            ends.update(_with_place(text, name, thing))
        for end in sorted(ends):
            yield thing, text[end:].strip(_BLANK)


def _words(thing: Thing, room: Thing) -> tuple[str, ...]:
    if isinstance(thing, Portal):
        return tuple(name for raw in thing.seen_from(room) if (name := _named(raw)))
    stamp, kept = thing.name_stamp(), thing.state.tokens.get(thing)
    if kept is not None and kept[0] == stamp:
        return kept[1]
    names = tuple(dict.fromkeys(name for raw in thing.referents() if (name := _named(raw))))
    thing.state.tokens[thing] = stamp, names
    return names


def _with_place(text: str, name: str, thing: Thing) -> Iterator[int]:
    if thing.place is None or not text[len(name) :].startswith((" in ", " on ")):
        return
    for place in thing.place.referents():
        for word in ("in", "on"):
            full = tokens(f"{name} {word} {place.lower()}")
            if text.startswith(full):
                yield len(full)
