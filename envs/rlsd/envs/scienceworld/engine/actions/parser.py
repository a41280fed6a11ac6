"""What an input can mean: every action and every choice of things that its words fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rlsd.envs.scienceworld.engine.actions.table import ACTIONS, Action
from rlsd.envs.scienceworld.engine.world.places import Portal
from rlsd.envs.scienceworld.engine.world.scala import hash_map_order
from rlsd.envs.scienceworld.engine.world.thing import Thing

Pool = list[tuple[Thing, list[str]]]
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


def tokens(text: str) -> str:
    """Words with single spaces, without articles."""
    return " ".join(word for word in _spaced(text).split(" ") if word not in _STOP)


def _spaced(text: str) -> str:
    return re.sub(r"[ \t\n\x0b\f\r]+", " ", text.strip(_BLANK))


_BLANK = "".join(map(chr, range(33)))


def meanings(
    text: str, things: Sequence[Thing], everything: Sequence[Thing] | None, room: Thing, known: Sequence[str]
) -> list[Meaning]:
    """All meanings of an input, in the order in which a question lists them.

    Args:
        things: what can be referred to.
        everything: for teleporting.
        known: names of the actions.
    """
    said = tokens(text.lower())
    found: dict[str, list[Meaning]] = {}
    near: Pool | None = None
    for name in known:
        action = ACTIONS[name]
        if not said.startswith(action.words[0]):
            continue
        if name == "teleport to location":
            pool = _pool(everything or (), room)
        else:
            pool = near = near or _pool(things, room)
        matches = list(dict.fromkeys(_fit(said, action, 0, pool, room)))
        if matches:
            found[name] = [Meaning(action, match) for match in matches]
    return [meaning for name in hash_map_order(found) for meaning in found[name]]


def _fit(text: str, action: Action, part: int, pool: Pool, room: Thing) -> Iterator[tuple[Thing, ...]]:
    """Choices of things that the rest of an input fits, from word group `part` on."""
    if part == len(action.words):
        if not text.strip(_BLANK):
            yield ()
        return
    for words in action.words[part]:
        if text.startswith(words):
            rest = text[len(words) :].strip(_BLANK)
            if part < action.things:
                for thing, after in _refer(rest, pool, room):
                    for others in _fit(after, action, part + 1, pool, room):
                        yield (thing, *others)
            else:
                yield from _fit(rest, action, part + 1, pool, room)


def _refer(text: str, pool: Pool, room: Thing) -> Iterator[tuple[Thing, str]]:
    """Things whose names the text begins with, and what follows the name."""
    for thing, names in pool:
        ends = set()
        for name in names:
            if not text.startswith(name):
                continue
            if len(name) > 1:
                ends.add(len(name))
            ends.update(_with_place(text, name, thing))
        for end in sorted(ends):
            yield thing, text[end:].strip(_BLANK)


def _pool(things: Sequence[Thing], room: Thing) -> Pool:
    """Things with their names, but for what they are in."""
    return [(thing, _words(thing, room)) for thing in things]


def _words(thing: Thing, room: Thing) -> list[str]:
    if isinstance(thing, Portal):
        return [name for raw in thing.seen_from(room) if (name := _named(raw))]
    stamp, kept = thing.name_stamp(), thing.state.tokens.get(thing)
    if kept is not None and kept[0] == stamp:
        return kept[1]
    names = [name for raw in thing.referents() if (name := _named(raw))]
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
