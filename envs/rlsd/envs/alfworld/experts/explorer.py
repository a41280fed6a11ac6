"""The explorer expert: it reads only what an agent sees, observations and admissible commands.

It searches receptacles in order, remembers where it saw objects, and derives the task family from the goal sentence.
It can take over in the middle of another player's episode if it was shown every observation.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import Literal

from rlsd.envs.alfworld.engine.furniture import can_contain
from rlsd.envs.alfworld.experts.goal_sentence import read_wish
from rlsd.envs.alfworld.experts.likely_places import HABITS, USUAL
from rlsd.envs.errors import EnvError, closest

Order = Literal["listed", "random", "likely"]
_APPLIANCES = {"clean": ("sinkbasin", "sink"), "hot": ("microwave",), "cool": ("fridge",)}
_VERBS = {"clean": "clean", "hot": "heat", "cool": "cool"}
_KNIVES = ("knife", "butterknife")
_VIEW = re.compile(r"(?:On the (.+?), you see|The (\S+ \d+) is open\. In it, you see) (.+?)\.(?:\n|$| )")
_DONE = re.compile(
    r"You (pick up|move|clean|heat|cool|sliced|turn on|open|close) (?:the )?(\S+ \d+)(?: \w+ the (\S+ \d+))?"
)


class Explorer:
    """Call `reset` with the first observation and the goal, then `act` with every observation in turn.

    When another player acts, `watch` each step; `choose` then advises without another observation.

    Args:
        seed: for order "random"; the same seed gives the same choices.
        order: "listed" searches in the order of the first observation, "random" in a seeded order, "likely" by a
            fixed table of usual places, places that cannot hold the object last.

    Raises:
        EnvError: an unknown order.
    """

    def __init__(self, *, seed: int | None = None, order: Order = "likely") -> None:
        if order not in ("listed", "random", "likely"):
            raise EnvError(f"unknown order {order!r}{closest(str(order), ('listed', 'random', 'likely'))}")
        self.order: Order = order
        self.seed = seed

    def reset(self, observation: str, goal: str) -> None:
        """Forget everything and read the first observation.

        Raises:
            EnvError: unknown form of goal sentence.
        """
        self._random = random.Random(self.seed)
        self._wish = read_wish(goal)
        self._listed: list[str] = []
        self._seen: dict[str, list[str]] = {}
        self._states: dict[str, set[str]] = {}
        self._lit: set[str] = set()
        self._hand: str | None = None
        self._here: str | None = None
        self._refused: set[tuple[str, str]] = set()
        self._target: str | None = None
        self._tried: str | None = None
        _, separator, rest = observation.partition("you see ")
        if separator:
            self._listed = _names(rest.partition(".")[0])
        if self.order == "random":
            self._random.shuffle(self._listed)

    def act(self, observation: str, admissible: list[str] | None) -> str:
        """The next command, from the last observation and the admissible commands."""
        self.watch(self._tried, observation)
        return self.choose(admissible)

    def choose(self, admissible: list[str] | None) -> str:
        """The next command; every observation so far must have been passed to `watch`."""
        self._can = set(admissible or ())
        for command in sorted(self._can):
            if command.startswith("go to ") and command[6:] not in self._listed:
                self._listed.append(command[6:])
        for command in self._can:
            thing, _, place = command.removeprefix("take ").partition(" from ")
            if command.startswith("take ") and thing not in self._seen.setdefault(place, []):
                self._seen[place].append(thing)
        self._tried = self._choose()
        return self._tried

    # --- reading --------------------------------------------------------------------------------------------

    def watch(self, command: str | None, text: str) -> None:
        """Process the observation after a command (None: the first observation), whoever issued it."""
        if text.strip() == "Nothing happens." and command is not None:
            self._refused.add((command, self._here or ""))
        arrived = re.match(r"You arrive at (.+?)\. ", text)
        if arrived:
            self._here = arrived[1]
        view = _VIEW.search(text)
        if view:
            self._seen[view[1] or view[2]] = _names(view[3])
        done = _DONE.match(text)
        if not done:
            return
        verb, thing, place = done[1], done[2], done[3]
        if verb == "pick up":
            self._hand = thing
            for things in self._seen.values():
                if thing in things:
                    things.remove(thing)
        elif verb == "move":
            self._hand = None
            self._seen.setdefault(place, []).append(thing)
        elif verb == "turn on":
            self._lit.add(thing)
        elif verb in ("clean", "heat", "cool", "sliced"):
            states = self._states.setdefault(thing, set())
            states.add({"heat": "hot"}.get(verb, verb))
            states.discard({"heat": "cool", "cool": "hot"}.get(verb, ""))

    # --- choosing -------------------------------------------------------------------------------------------

    def _choose(self) -> str:
        wish = self._wish
        if self._hand is None:
            return self._fetch(self._wanted())
        kind = _kind(self._hand)
        if kind == wish.thing:
            missing = [s for s in wish.states if s not in self._states.get(self._hand, ())]
            if missing and missing[0] == "sliced":
                return self._lay_down()  # slicing needs a knife in hand
            if missing:
                return self._treat(missing[0])
            return self._finish()
        if kind in _KNIVES and "sliced" in wish.states:
            return self._slice()
        return self._lay_down()

    def _wanted(self) -> tuple[str, ...]:
        """Types to look for with empty hands: the thing, or first a knife."""
        if "sliced" in self._wish.states and not any("sliced" in s for s in self._states.values()):
            return _KNIVES
        return (self._wish.thing,)

    def _fetch(self, kinds: tuple[str, ...]) -> str:
        if self._target is None:
            self._target = self._second_home([p for p in self._listed if _kind(p) == self._wish.target])
        for place, things in self._seen.items():
            if place == self._target and self._wish.count > 1:
                continue  # holds the first of two already
            for thing in things:
                take = f"take {thing} from {place}"
                if _kind(thing) in kinds and self._ready(thing, kinds) and (take, place) not in self._refused:
                    return self._at(place, take)
        return self._search(kinds)

    def _ready(self, thing: str, kinds: tuple[str, ...]) -> bool:
        if "sliced" not in self._wish.states or kinds == _KNIVES:
            return True
        return "sliced" in self._states.get(thing, ())

    def _treat(self, state: str) -> str:
        places = [p for p in self._listed if _kind(p) in _APPLIANCES[state]]
        for place in sorted(places, key=lambda p: p != self._here):
            command = f"{_VERBS[state]} {self._hand} with {place}"
            if (command, place) not in self._refused:
                return self._at(place, command)
        return self._lay_down()

    def _finish(self) -> str:
        """The object in hand is ready: take it to its target."""
        wish = self._wish
        if wish.kind == "look":
            for place, things in self._seen.items():
                for lamp in things:
                    if _kind(lamp) == wish.target and lamp not in self._lit:
                        return self._at(place, f"use {lamp}")
            for place, things in self._seen.items():
                if any(_kind(x) == wish.target for x in things) and f"go to {place}" in self._can:
                    return f"go to {place}"
            return self._search((wish.target,))
        places = [p for p in self._listed if _kind(p) == wish.target]
        if self._target is None:
            self._target = self._second_home(places)
        for place in [self._target] if self._target else sorted(places, key=lambda p: p != self._here):
            command = f"move {self._hand} to {place}"
            if (command, place) not in self._refused:
                self._target = place if wish.count > 1 else None
                return self._at(place, command)
        self._target = None
        return self._search((wish.target,))

    def _second_home(self, places: list[str]) -> str | None:
        """For two objects: a receptacle known to hold one of them already."""
        if self._wish.count > 1:
            for place in places:
                if any(_kind(x) == self._wish.thing for x in self._seen.get(place, ())):
                    return place
        return None

    def _slice(self) -> str:
        for place, things in self._seen.items():
            for thing in things:
                if _kind(thing) == self._wish.thing and "sliced" not in self._states.get(thing, ()):
                    command = f"slice {thing} with {self._hand}"
                    if (command, place) not in self._refused and not self._sliced_enough():
                        return self._at(place, command)
        if self._sliced_enough():
            return self._lay_down()
        return self._search((self._wish.thing,))

    def _sliced_enough(self) -> bool:
        return sum("sliced" in states for states in self._states.values()) >= self._wish.count

    def _lay_down(self) -> str:
        here = sorted(c for c in self._can if c.startswith(f"move {self._hand} to "))
        if here:
            return here[0]
        opening = sorted(c for c in self._can if c.startswith("open "))
        if opening:
            return opening[0]
        tables = [p for p in self._listed if _kind(p) in ("countertop", "diningtable", "sidetable", "desk", "dresser")]
        for place in [*tables, *self._listed]:
            if f"go to {place}" in self._can and ("lay", place) not in self._refused:
                self._refused.add(("lay", place))
                return f"go to {place}"
        self._refused = {pair for pair in self._refused if pair[0] != "lay"}
        return "look"

    # --- moving ---------------------------------------------------------------------------------------------

    def _at(self, place: str, command: str) -> str:
        """Do `command` at `place`: go there, and open it first if needed."""
        if command in self._can:
            return command
        if f"go to {place}" in self._can:
            return f"go to {place}"
        if f"open {place}" in self._can:
            return f"open {place}"
        self._refused.add((command, place))
        if command.startswith("take "):
            self._seen[place] = [x for x in self._seen.get(place, []) if f"take {x} from " not in command]
        return self._choose()

    def _search(self, kinds: tuple[str, ...]) -> str:
        if self._here and self._here not in self._seen and f"open {self._here}" in self._can:
            return f"open {self._here}"
        for place in self._unseen(kinds):
            for command in (f"go to {place}", f"open {place}", f"examine {place}"):
                if command in self._can and (command, self._here or "") not in self._refused:
                    return command
        if self._seen:  # everything was searched: forget it all and search again
            self._seen.clear()
            self._refused.clear()
            return "look" if "look" in self._can else "inventory"
        return "look"

    def _unseen(self, kinds: tuple[str, ...]) -> list[str]:
        places = [p for p in self._listed if p not in self._seen]
        if self.order != "likely":
            return places
        rank, holders = HABITS.get(kinds[0], ()) + USUAL, _holders(kinds[0])

        def order(place: str) -> tuple[bool, int]:
            kind = _kind(place)
            return bool(holders) and kind not in holders, rank.index(kind) if kind in rank else len(rank)

        return sorted(places, key=order)


@lru_cache(maxsize=256)
def _holders(thing: str) -> frozenset[str]:
    """Receptacle types that can contain such an object; empty if there are none."""
    return frozenset(
        holder.lower() for holder, things in can_contain().items() if thing in {kind.lower() for kind in things}
    )


def _kind(name: str) -> str:
    return name.rpartition(" ")[0]


def _names(listing: str) -> list[str]:
    """The names in "a mug 2, a mug 1, and a pen 1" (or "nothing")."""
    return re.findall(r"\ba (\S+ \d+)", listing)
