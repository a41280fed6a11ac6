"""The four games of Gymnasium's toy text: how a state reads, which words are actions, and the plan."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

Plan = tuple[str, ...]
_COSTLY = -10
"""A transition with such a reward or less (a fall from the cliff, a wrong pick-up) is in no plan."""


class ToyGame:
    """One game of Gymnasium with a table of transitions.

    Attributes:
        words: action words, in the order of Gymnasium's numbers.
        idle: the reward of a step whose action was not understood, as much as time costs.
    """

    words: tuple[str, ...] = ()
    max_steps = 30
    idle = 0.0
    refused = "You cannot go there."

    def __init__(self, *, size: int, slippery: bool) -> None:
        self.size, self.slippery = size, slippery
        self.env: Any = None

    def starts(self) -> Sequence[int] | None:
        """States that tasks begin in, where the board is always the same; None: a seed makes the board."""
        return None

    def content(self, start: int) -> str:
        """What is played, completely."""
        raise NotImplementedError

    def begin(self, start: int) -> None:
        raise NotImplementedError

    def rules(self) -> str:
        raise NotImplementedError

    def view(self) -> str:
        raise NotImplementedError

    def goal(self) -> str:
        raise NotImplementedError

    def won(self, reward: float, ended: bool) -> bool:
        """Whether a transition with this reward reaches the goal."""
        return ended and reward > 0

    def score(self, reward: float, won: bool) -> float:
        """The outcome in [0, 1]."""
        return float(won)

    def known(self) -> tuple[str, ...]:
        """What only the teacher knows, beyond the plan."""
        return ()

    def move(self, action: int) -> tuple[float, bool, bool]:
        """Reward, whether the game ended, whether it was won."""
        _, reward, ended, _, _ = self.env.step(action)
        return float(reward), bool(ended), self.won(float(reward), bool(ended))

    def allowed(self) -> list[str]:
        """Words that can lead to another state."""
        here, table = int(self.env.s), self.env.P[int(self.env.s)]
        return [w for a, w in enumerate(self.words) if any(t[1] != here or t[3] or self.falls(t[2]) for t in table[a])]

    def falls(self, reward: float) -> bool:
        """Whether something happened although the state is the same."""
        return False

    def plan(self, most: int) -> Plan | None:
        """A shortest way to the goal that takes at most `most` steps; None if there is none. Of several, the one
        whose actions come first in `words`.

        A step takes one random number, whatever the action, so the numbers to come are known, and with them where each
        action leads: a search over (step, state).
        """
        luck = copy.deepcopy(self.env.np_random)
        ways: dict[int, Plan] = {int(self.env.s): ()}
        seen = set(ways)
        for _ in range(most):
            number, found = luck.random(), {}
            for state, way in ways.items():
                for action, word in enumerate(self.words):
                    to, reward, ended = self._leads(state, action, number)
                    if self.won(reward, ended):
                        return (*way, word)
                    if not ended and reward > _COSTLY and (self.slippery or to not in seen):
                        found.setdefault(to, (*way, word))
            ways = found
            seen.update(ways)
            if not ways:
                return None
        return None

    def _leads(self, state: int, action: int, number: float) -> tuple[int, float, bool]:
        """Next state, reward and end, drawn as Gymnasium draws."""
        row = self.env.P[state][action]
        chosen = row[int(np.argmax(np.cumsum([t[0] for t in row]) > number))]
        return int(chosen[1]), float(chosen[2]), bool(chosen[3])


class FrozenLake(ToyGame):
    words = ("left", "down", "right", "up")

    def content(self, start: int) -> str:
        from gymnasium.envs.toy_text.frozen_lake import generate_random_map

        return "\n".join(generate_random_map(size=self.size, p=0.8, seed=start))

    def begin(self, start: int) -> None:
        from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

        self.map = self.content(start).split("\n")
        self.env = FrozenLakeEnv(desc=self.map, is_slippery=self.slippery)
        self.env.reset(seed=start)

    def rules(self) -> str:
        slip = " The ice is slippery: you may slide to either side of where you want to go." if self.slippery else ""
        legend = "P you, S start, F frozen, H hole, G goal."
        return f"A frozen lake of {self.size} by {self.size} squares; {legend}{slip}"

    def view(self) -> str:
        row, column = divmod(int(self.env.s), self.size)
        rows = [list(line) for line in self.map]
        here, rows[row][column] = rows[row][column], "P"
        end = {"H": " You fall into a hole.", "G": " You reach the goal."}.get(here, "")
        return f"You are in row {row + 1}, column {column + 1}.{end}\n" + "\n".join(map("".join, rows))

    def goal(self) -> str:
        return "reach the goal square without falling into a hole."


class CliffWalking(ToyGame):
    words = ("up", "right", "down", "left")
    max_steps = 60
    idle = -1.0

    def starts(self) -> Sequence[int]:
        return range(37)  # every square but the cliff and the goal; 36 is Gymnasium's own start

    def content(self, start: int) -> str:
        return f"cliffwalking {start}"

    def begin(self, start: int) -> None:
        from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv

        if self.env is None:  # making the table takes longer than an episode
            self.env = CliffWalkingEnv(is_slippery=True) if self.slippery else CliffWalkingEnv()
        self.env.reset(seed=start)
        self.env.s = start

    def rules(self) -> str:
        slip = " The ground is slippery: you may slide to either side of where you want to go." if self.slippery else ""
        return (
            "A field of 4 rows and 12 columns. In row 4, columns 2 to 11 are a cliff: who steps there is put back to "
            f"row 4, column 1, and loses 100. Every step costs 1.{slip}"
        )

    def view(self) -> str:
        row, column = divmod(int(self.env.s), 12)
        return f"You are in row {row + 1}, column {column + 1}."

    def goal(self) -> str:
        return "reach row 4, column 12."

    def won(self, reward: float, ended: bool) -> bool:
        return ended

    def falls(self, reward: float) -> bool:
        return reward == -100


class Taxi(ToyGame):
    words = ("south", "north", "east", "west", "pick up", "drop off")
    max_steps = 50
    idle = -1.0
    refused = "That does not work here."
    _PLACES = ("red", "green", "yellow", "blue")

    def starts(self) -> Sequence[int]:
        return [s for s in range(500) if (s // 4) % 5 < 4 and (s // 4) % 5 != s % 4]

    def content(self, start: int) -> str:
        return f"taxi {start}"

    def begin(self, start: int) -> None:
        from gymnasium.envs.toy_text.taxi import TaxiEnv

        if self.env is None:
            self.env = TaxiEnv(is_rainy=True) if self.slippery else TaxiEnv()
        self.env.reset(seed=start)
        self.env.s = start

    def rules(self) -> str:
        rain = " It rains: a move may go astray to either side." if self.slippery else ""
        return (
            "A town of 5 by 5 squares with walls. Red is in row 1, column 1; green in row 1, column 5; yellow in row "
            f"5, column 1; blue in row 5, column 4. Every step costs 1, a wrong pick-up or drop-off 10.{rain}"
        )

    def view(self) -> str:
        row, column, passenger, to = self.env.decode(int(self.env.s))
        where = "is in the taxi" if passenger == 4 else f"waits at {self._PLACES[passenger]}"
        ways = [w for w in self.allowed() if w in self.words[:4]]
        return (
            f"The taxi is in row {row + 1}, column {column + 1}; it can drive {', '.join(ways)}. The passenger {where} "
            f"and wants to go to {self._PLACES[to]}."
        )

    def goal(self) -> str:
        return "pick up the passenger and drop them off where they want to go."


class Blackjack(ToyGame):
    words = ("stick", "hit")
    max_steps = 15

    def content(self, start: int) -> str:
        """The hands and the cards that follow."""
        self.begin(start)
        env = copy.deepcopy(self.env)
        while not env.step(1)[2]:
            pass
        return f"blackjack {env.player} against {env.dealer}"

    def begin(self, start: int) -> None:
        from gymnasium.envs.toy_text.blackjack import BlackjackEnv

        self.env = BlackjackEnv()
        self.env.reset(seed=start)
        self.over = False

    def rules(self) -> str:
        return (
            "Blackjack. An ace counts 1 or 11, face cards count 10. Who exceeds 21 loses; the dealer draws up to 17 "
            "once you stick; the higher sum wins."
        )

    def view(self) -> str:
        total, shown, ace = self.env._get_obs()
        hand = f"You hold {', '.join(map(str, self.env.player))}: {total}{' with an ace as 11' if ace else ''}."
        if self.over:
            return f"{hand} The dealer holds {', '.join(map(str, self.env.dealer))}."
        return f"{hand} The dealer shows {shown}."

    def goal(self) -> str:
        return "beat the dealer's sum without exceeding 21."

    def allowed(self) -> list[str]:
        return list(self.words)

    def move(self, action: int) -> tuple[float, bool, bool]:
        _, reward, ended, _, _ = self.env.step(action)
        self.over = bool(ended)
        return float(reward), self.over, self.over and float(reward) > 0

    def score(self, reward: float, won: bool) -> float:
        return (reward + 1) / 2  # a draw is one half

    def known(self) -> tuple[str, ...]:
        return (f"the dealer holds {', '.join(map(str, self.env.dealer))}",)

    def plan(self, most: int) -> Plan | None:
        """Hits, then a stick that wins, with the cards that come; None if no number of hits wins."""
        env, hits = copy.deepcopy(self.env), 0
        while hits < most:
            stuck = copy.deepcopy(env)
            if stuck.step(0)[1] > 0:
                return ("hit",) * hits + ("stick",)
            if env.step(1)[2]:
                return None
            hits += 1
        return None


GAMES: dict[str, type[ToyGame]] = {
    "blackjack": Blackjack,
    "cliffwalking": CliffWalking,
    "frozenlake": FrozenLake,
    "taxi": Taxi,
}
