"""The rules of the ALFRED text domain as the original engine implements them, quirks included.

Quirks kept deliberately: `examine` knows only the object in hand; `heat`, `cool`, `clean` work on a closed
appliance; a lamp can be used inside a closed drawer and is never turned off; `look` lists only what was moved
between two receptacles at one location; a satisfied goal may be undone.
"""

from __future__ import annotations

from rlsd.envs.alfworld.engine.commands import CONSTANT, commands_of
from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.text import HELP, NOTHING_HAPPENS, WELCOME, described, listing, things


class World:
    """The changing state of one game; `reset` and `step` return what the original shows, to the character.

    Attributes:
        place: location of the agent.
        in_hand: object in hand, or -1.
        opened: receptacles that are open.
        contents: per receptacle its objects, in the original's order.
        inside: per object the receptacles it is in.
        lies_at: per object the locations it is recorded at.
        clean, hot, cool, sliced, lit: objects in that state.
        understood: False after an unknown or refused command.
    """

    __slots__ = (
        "_admissible",
        "_left",
        "_won",
        "clean",
        "contents",
        "cool",
        "game",
        "hot",
        "in_hand",
        "inside",
        "lies_at",
        "lit",
        "opened",
        "place",
        "sliced",
        "understood",
    )

    def __init__(self, game: Game) -> None:
        self.game = game
        self.reset()

    def reset(self) -> str:
        """Back to the start; returns the first observation."""
        game = self.game
        self.place, self.in_hand = game.start, game.in_hand
        # All values are immutable and replaced on change, so copying a world is a few assignments.
        self.opened = game.opened
        self.inside, self.lies_at, self.contents = game.inside, game.lies_at, game.contents
        states = dict(game.states)
        self.clean, self.hot, self.cool = states["clean"], states["hot"], states["cool"]
        self.sliced, self.lit = states["sliced"], states["lit"]
        self._left: frozenset[tuple[int, int]] = frozenset()  # (object, receptacle) pairs taken and not put back
        self._admissible: list[str] | None = None  # both are cached until the state changes
        self._won: bool | None = None
        self.understood = True
        if game.at_place[self.place]:
            view = self._look()
        else:
            seen = [name for name, place in zip(game.receptacles, game.places, strict=True) if place >= 0]
            view = f"You are in the middle of a room. Looking quickly around you, you see {things(seen)}."
        return f"{WELCOME}\n\n{view}\n\nYour task is to: {game.task}"

    def copy(self) -> World:
        """An independent world in the same state (the game is shared)."""
        twin = World.__new__(World)
        twin.game, twin.place, twin.in_hand = self.game, self.place, self.in_hand
        twin.opened, twin.inside, twin.lies_at, twin.contents = self.opened, self.inside, self.lies_at, self.contents
        twin.clean, twin.hot, twin.cool = self.clean, self.hot, self.cool
        twin.sliced, twin.lit, twin._left = self.sliced, self.lit, self._left
        twin._admissible, twin._won, twin.understood = self._admissible, self._won, self.understood
        return twin

    def key(self) -> tuple[object, ...]:
        """Hashable value, equal for equal states of one game."""
        states = (self.opened, self.clean, self.hot, self.cool, self.sliced, self.lit, self._left)
        return (self.place, self.in_hand, self.inside, self.lies_at, *states)

    def reachable(self, r: int) -> bool:
        """The receptacle's inside can be seen and touched from here."""
        return self.game.places[r] == self.place and (r not in self.game.openable or r in self.opened)

    # --- acting ---------------------------------------------------------------------------------------------

    def step(self, command: str) -> str:
        """Execute one command (surrounding white space is ignored); returns the observation."""
        command = command.strip()
        if command in CONSTANT:
            self.understood = True
            return getattr(self, "_" + command)()
        answer = None
        verb, _, rest = command.partition(" ")
        act = _VERBS.get(verb)
        if act is not None:
            answer = act(self, rest)
        self.understood = answer is not None
        if answer is None:
            return NOTHING_HAPPENS
        self._won = None
        return answer

    def _here(self, name: str) -> int:
        """The receptacle of that name at the agent's location, or -1."""
        r = self.game.receptacle_index.get(name, -1)
        return r if r >= 0 and self.game.places[r] == self.place else -1

    def _go(self, rest: str) -> str | None:
        to, _, name = rest.partition(" ")
        r = self.game.receptacle_index.get(name, -1)
        if to != "to" or r < 0 or self.game.places[r] in (self.place, -1):
            return None
        self.place, self._admissible = self.game.places[r], None
        return f"You arrive at {name}. {self._view(r)}"

    def _open(self, name: str) -> str | None:
        r = self._here(name)
        if r < 0 or r not in self.game.openable or r in self.opened:
            return None
        self.opened |= {r}
        self._admissible = None
        return f"You open the {name}. {self._view(r)}"

    def _close(self, name: str) -> str | None:
        r = self._here(name)
        if r < 0 or r not in self.game.openable or r not in self.opened:
            return None
        self.opened -= {r}
        self._admissible = None
        return f"You close the {name}."

    def _take(self, rest: str) -> str | None:
        thing, _, name = rest.partition(" from ")
        o, r = self.game.object_index.get(thing, -1), self._here(name)
        if self.in_hand >= 0 or o not in self.game.pickupable or r < 0 or not self.reachable(r):
            return None
        if o not in self.contents[r]:
            return None
        self.contents = _replaced(self.contents, r, _without(self.contents[r], o))
        self.inside = _replaced(self.inside, o, _without(self.inside[o], r))
        self.lies_at = _replaced(self.lies_at, o, _without(self.lies_at[o], self.place))
        self.in_hand, self._admissible = o, None
        self._left |= {(o, r)}
        return f"You pick up the {thing} from the {name}."

    def _move(self, rest: str) -> str | None:
        thing, _, name = rest.partition(" to ")
        o, r = self.game.object_index.get(thing, -1), self._here(name)
        if o < 0 or o != self.in_hand or r < 0 or not self.reachable(r) or r not in self.game.fits[o]:
            return None
        if r not in self.inside[o]:
            self.inside = _replaced(self.inside, o, tuple(sorted((*self.inside[o], r))))
            self.contents = _replaced(self.contents, r, tuple(sorted((*self.contents[r], o))))
        if self.place not in self.lies_at[o]:
            self.lies_at = _replaced(self.lies_at, o, (*self.lies_at[o], self.place))
        self.in_hand, self._admissible = -1, None
        self._left -= {(o, r)}
        return f"You move the {thing} to the {name}."

    def _use(self, thing: str) -> str | None:
        o = self.game.object_index.get(thing, -1)
        if o not in self.game.toggleable or not any(self.game.places[r] == self.place for r in self.inside[o]):
            return None
        self.lit |= {o}
        return f"You turn on the {thing}."

    def _with(self, rest: str, able: frozenset[int], appliances: frozenset[int]) -> tuple[int, str, str] | None:
        thing, _, name = rest.partition(" with ")
        o = self.game.object_index.get(thing, -1)
        if o < 0 or o != self.in_hand or o not in able or self._here(name) not in appliances:
            return None
        return o, thing, name

    def _clean(self, rest: str) -> str | None:
        match = self._with(rest, self.game.cleanable, self.game.sinks)
        if match is None:
            return None
        self.clean |= {match[0]}
        return f"You clean the {match[1]} using the {match[2]}."

    def _heat(self, rest: str) -> str | None:
        match = self._with(rest, self.game.heatable, self.game.microwaves)
        if match is None:
            return None
        self.hot |= {match[0]}
        self.cool -= {match[0]}
        return f"You heat the {match[1]} using the {match[2]}."

    def _cool(self, rest: str) -> str | None:
        match = self._with(rest, self.game.coolable, self.game.fridges)
        if match is None:
            return None
        self.cool |= {match[0]}
        self.hot -= {match[0]}
        return f"You cool the {match[1]} using the {match[2]}."

    def _slice(self, rest: str) -> str | None:
        thing, _, tool = rest.partition(" with ")
        o, knife = self.game.object_index.get(thing, -1), self.game.object_index.get(tool, -1)
        if o not in self.game.sliceable or knife < 0 or knife != self.in_hand or knife not in self.game.knives:
            return None
        if self.place not in self.lies_at[o]:
            return None
        self.sliced |= {o}
        return f"You sliced the {thing} with the {tool}."

    # --- seeing ---------------------------------------------------------------------------------------------

    def _view(self, r: int) -> str:
        game = self.game
        if r in game.openable and r not in self.opened:
            return f"The {game.receptacles[r]} is closed."
        seen = things([game.objects[o] for o in self.contents[r]])
        if r in game.openable:
            return f"The {game.receptacles[r]} is open. In it, you see {seen}."
        return f"On the {game.receptacles[r]}, you see {seen}."

    def _examine(self, name: str) -> str | None:
        r = self._here(name)
        if r >= 0:
            return self._view(r)
        game, o = self.game, self.game.object_index.get(name, -1)
        if o < 0 or o != self.in_hand:
            return None
        if o in game.boxes:
            return f"This is a normal {name}. In it, you see {things([game.objects[x] for x in game.boxes[o]])}."
        states = {word for word in ("clean", "hot", "cool", "sliced", "lit") if o in getattr(self, word)}
        return described(name, states, toggleable=o in game.toggleable, sliceable=o in game.sliceable)

    def _look(self) -> str:
        game, here = self.game, self.game.at_place[self.place]
        if not here:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        left = sorted((o, r) for o, r in self._left if r in here and self.place in self.lies_at[o])
        near = things([game.objects[o] for o, _ in left])
        return f"You are facing the {listing([game.receptacles[r] for r in here])}. Next to it, you see {near}."

    def _inventory(self) -> str:
        if self.in_hand < 0:
            return "You are not carrying anything."
        return f"You are carrying: a {self.game.objects[self.in_hand]}."

    def _help(self) -> str:
        return HELP

    def admissible(self) -> list[str]:
        """Every command the world would accept now, sorted; a new list."""
        if self._admissible is None:
            self._admissible = commands_of(
                self.game,
                place=self.place,
                in_hand=self.in_hand,
                opened=self.opened,
                contents=self.contents,
                lies_at=self.lies_at,
            )
        return self._admissible.copy()

    # --- the goal -------------------------------------------------------------------------------------------

    @property
    def won(self) -> bool:
        """The goal holds now."""
        if self._won is None:
            self._won = self._goal_holds()
        return self._won

    def _goal_holds(self) -> bool:
        game, goal = self.game, self.game.goal
        if goal.kind == "look":
            if self.in_hand not in game.goal_objects or not self.has_states(self.in_hand):
                return False
            return any(
                lamp in self.lit and any(game.places[r] == self.place for r in self.inside[lamp])
                for lamp in game.goal_targets
            )
        if goal.count == 1:
            targets = game.goal_targets
            return any(r in targets for o in game.goal_objects if self.has_states(o) for r in self.inside[o])
        ready = [o for o in game.goal_objects if self.has_states(o)]
        return any(sum(r in self.inside[o] for o in ready) >= goal.count for r in game.goal_targets)

    def has_states(self, o: int) -> bool:
        """The object is all of clean, hot, cool, sliced that the goal asks for."""
        for word in self.game.goal.states:  # noqa: SIM110 (hot path: a generator is slower)
            if o not in getattr(self, word):
                return False
        return True


def _without(some: tuple[int, ...], gone: int) -> tuple[int, ...]:
    return tuple(x for x in some if x != gone)


def _replaced(rows: tuple[tuple[int, ...], ...], n: int, row: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return (*rows[:n], row, *rows[n + 1 :])


_VERBS = {
    "go": World._go,
    "open": World._open,
    "close": World._close,
    "take": World._take,
    "move": World._move,
    "use": World._use,
    "clean": World._clean,
    "heat": World._heat,
    "cool": World._cool,
    "slice": World._slice,
    "examine": World._examine,
}
