"""Command sequences for a comparison: the expert's walkthrough, random admissible commands, junk and near misses."""

from __future__ import annotations

import random
import re
from collections.abc import Generator

Player = Generator[str, list[str], None]
"""Yields commands; receives the admissible commands after each."""

NEAR_MISSES = (
    "go to {r}",
    "open {r}",
    "close {r}",
    "take {o} from {r}",
    "move {o} to {r}",
    "put {o} in {r}",
    "examine {r}",
    "examine {o}",
    "use {o}",
    "heat {o} with {r}",
    "cool {o} with {r}",
    "clean {o} with {r}",
    "slice {o} with {o2}",
)
HANDLING = ["slice", "heat", "cool", "clean", "use", "take", "move", "open"]
_NAME = r"(\S+ \d+)"
_SEEN = re.compile(rf"(?:take|move|use|heat|cool|clean|slice) {_NAME}")


def real_play(walkthrough: list[str], rng: random.Random, *, steps: int = 60) -> Player:
    """Junk at the start, the walkthrough with junk between, then `steps` random admissible commands and more junk."""
    player = Junk(rng)
    admissible = yield from _junk(player, (yield "look"), 3)
    for command in walkthrough:
        if rng.random() < 0.3:
            admissible = yield player.choose(admissible)
        player.note(admissible)
        admissible = yield command
    for n in range(steps):
        if n % 6 == 5:
            admissible = yield player.choose(admissible)
        player.note(admissible)
        admissible = yield by_verb(admissible, rng)
    yield from _junk(player, admissible, 2)


def corner_play(plan: list[str], things: list[str], rng: random.Random, *, steps: int = 50) -> Player:
    """The plan to the goal, then everything handled at random; a third is junk and near misses.

    `things` are the names of all objects, also of those that no command mentions yet.
    """
    player = Junk(rng)
    player.things.update(dict.fromkeys(things))
    admissible = yield "look"
    for command in plan:
        player.note(admissible)
        admissible = yield command
    for n in range(steps):
        player.note(admissible)
        in_hand = player.in_hand(admissible)
        if n % 3 == 2:
            admissible = yield (player.choose(admissible) if rng.random() < 0.3 else player.near(admissible))
        elif in_hand and rng.random() < 0.3:
            admissible = yield f"examine {in_hand}"
        else:
            admissible = yield by_verb(admissible, rng, rare=HANDLING)


def script_play(commands: list[str]) -> Player:
    """Fixed commands."""
    for command in commands:  # noqa: UP028 (`yield from` a list cannot receive values)
        yield command


def by_verb(admissible: list[str], rng: random.Random, *, rare: list[str] | None = None) -> str:
    """A random verb, then a random command of it (a uniform choice would mostly be walking); `rare` verbs count
    twice."""
    verbs = sorted({c.split()[0] for c in admissible})
    verb = rng.choice(verbs + [v for v in verbs if v in (rare or ())])
    return rng.choice([c for c in admissible if c.split()[0] == verb])


class Junk:
    """Odd, partly right or wrong commands, made of the names seen so far."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.things: dict[str, None] = {"unicorn 1": None}
        self.spots: dict[str, None] = {}
        self.places: set[str] = set()

    def note(self, admissible: list[str]) -> None:
        for command in admissible:
            if command.startswith(("go to ", "open ", "close ")):
                spot = " ".join(command.split()[-2:])
                self.spots[spot] = None
                self.places.add(f"examine {spot}")
            elif match := _SEEN.match(command):
                self.things[match[1]] = None

    def in_hand(self, admissible: list[str]) -> str | None:
        """The object in hand: the only one that can be examined."""
        names = (c.removeprefix("examine ") for c in admissible if c.startswith("examine "))
        return next((name for name in names if f"examine {name}" not in self.places and name in self.things), None)

    def near(self, admissible: list[str]) -> str:
        """A command about an object or receptacle here, most likely an invalid one."""
        rng, in_hand = self.rng, self.in_hand(admissible)
        here = [c.removeprefix("examine ") for c in admissible if c in self.places]
        things = list(self.things)
        thing = in_hand if in_hand and rng.random() < 0.6 else rng.choice(things)
        spot = rng.choice(here) if here and rng.random() < 0.9 else rng.choice(list(self.spots) or ["fridge 1"])
        other = in_hand if in_hand and rng.random() < 0.5 else rng.choice(things)
        return rng.choice(NEAR_MISSES).format(o=thing, o2=other, r=spot)

    def choose(self, admissible: list[str]) -> str:
        self.note(admissible)
        rng = self.rng
        if rng.random() < 0.6:
            things, spots = list(self.things), list(self.spots) or ["fridge 1"]
            return rng.choice(NEAR_MISSES).format(o=rng.choice(things), o2=rng.choice(things), r=rng.choice(spots))
        some = rng.choice(admissible)
        return rng.choice(
            (
                f"  {some}\n",
                f"\t{some} ",
                some.upper(),
                some.capitalize(),
                some.replace(" ", "  "),
                some + " now",
                some + ".",
                re.sub(r"\d+$", "99", some),
                re.sub(r" \d+$", "", some),
                some.split()[0],
                "the " + some,
                "",
                "\n",
                "go to nowhere 1",
                "go",
                "take  from ",
                "examine",
                "Inventory",
                "HELP",
                "look around",
                "restart",
                "ünïcode ☃",
                some[:-1],
            )
        )


def _junk(player: Junk, admissible: list[str], count: int) -> Generator[str, list[str], list[str]]:
    for _ in range(count):
        admissible = yield player.choose(admissible)
    return admissible
