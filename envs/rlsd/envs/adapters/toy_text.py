"""Gymnasium's toy text: FrozenLake, Taxi, CliffWalking and Blackjack in words.

Rules and rewards are Gymnasium's own. The teacher knows the transition table and every draw of luck that is still to
come, so its plan is exact, on slippery ice too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rlsd.envs.adapters.adapted import SPLITS, AdaptedEnv, State, cut, drawn, numbered, one_of
from rlsd.envs.adapters.toy_games import GAMES, ToyGame
from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError, closest

ENV_ID = "rlsd/ToyText-v0"


class ToyTextEnv(AdaptedEnv):
    """Commands are words such as `left`, `pick up`, `stick`. Rewards and rules are Gymnasium's.

    Args:
        game: "frozenlake", "taxi", "cliffwalking" or "blackjack".
        split: train, valid or test; they share no map, start or row of cards.
        slippery: moves may go astray (not in blackjack).
        size: squares along a side of the lake; other games have one size.
        max_steps: the episode is truncated after so many steps; None: what suits the game.

    Raises:
        EnvError: an unknown argument or value.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/ToyText-v0", game="taxi", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("north")
    """

    blocking = False
    response_format = "think"
    accepts_formats = ("think", "compact")

    def __init__(
        self,
        *,
        game: str = "frozenlake",
        split: str = "train",
        slippery: bool = False,
        size: int = 4,
        max_steps: int | None = None,
        render_mode: None = None,
    ) -> None:
        one_of("game", game, tuple(GAMES))
        one_of("split", split, tuple(SPLITS))
        kind = GAMES[game]
        if size != 4 and game != "frozenlake":
            raise EnvError(f"size={size!r} is for frozenlake alone; {game} has one size")
        if not isinstance(size, int) or not 3 <= size <= 10:
            raise EnvError(f"size must be a whole number from 3 to 10, got {size!r}")
        if not isinstance(slippery, bool) or (slippery and game == "blackjack"):
            raise EnvError(f"slippery={slippery!r}: expected true or false, and false for blackjack")
        self._name = "-".join([game, *([f"{size}x{size}"] if size != 4 else []), *(["slippery"] if slippery else [])])
        self._game: ToyGame = kind(size=size, slippery=slippery)
        self._seeds = _seeds(game, size, split)
        super().__init__(
            tasks=numbered(ENV_ID, self._name, split, kind=game, count=len(self._seeds)),
            max_steps=kind.max_steps if max_steps is None else max_steps,
            max_chars=4096,
        )

    def content(self, task_id: str) -> str:
        return self._game.content(self._seeds[self.task_of(task_id).seed])

    def begin(self, task: Task) -> State:
        self._game.begin(self._seeds[task.seed])
        self._plan = self._game.plan(self.max_steps)
        self._before: float | None = None
        return State(observation=f"{self._game.rules()}\n{self._game.view()}", commands=self._game.allowed())

    def act(self, action: str) -> State:
        game, allowed = self._game, self._game.allowed()
        word = " ".join(action.lower().split()) if isinstance(action, str) else ""
        self._before = self._distance()
        if word not in game.words:
            told = f"That is not a command. Commands: {', '.join(game.words)}.\n{game.view()}"
            state = State(observation=told, reward=game.idle, valid=False, commands=allowed)
        else:
            reward, ended, won = game.move(game.words.index(word))
            text = game.view() if word in allowed else f"{game.refused}\n{game.view()}"
            state = State(
                observation=text,
                reward=reward,
                ended=ended,
                success=won,
                score=game.score(reward, won) if ended else 0.0,
                valid=word in allowed,
                commands=game.allowed(),
            )
        self._plan = () if state.ended else game.plan(self.max_steps - self.steps)
        return state

    def goal(self) -> str:
        return self._game.goal()

    def hindsight(self) -> Hindsight:
        if self.state.success:
            return Hindsight(distance=0.0, distance_before=self._before)
        known = self._game.known()
        return Hindsight(
            plan=self._plan or (), whereabouts=known, distance=self._distance(), distance_before=self._before
        )

    def expert(self, kind: str) -> str | None:
        """ "oracle" follows the plan; there is no "explorer".

        Raises:
            EnvError: another kind.
        """
        if kind == "explorer":
            return None
        if kind != "oracle":
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        return (*(self._plan or ()), *self._game.allowed(), self._game.words[-1])[0]

    def _distance(self) -> float:
        """Steps of the plan; infinite where the goal is out of reach."""
        if self.state.success:
            return 0.0
        return float(len(self._plan)) if self._plan else float("inf")


@lru_cache(maxsize=64)
def _seeds(game: str, size: int, split: str) -> Sequence[Any]:
    """What makes each task of a split: seeds of random games, starts of games that have one board."""
    toy = GAMES[game](size=size, slippery=False)
    starts = toy.starts()
    if starts is None:
        return [seed for seed, _ in drawn(split, toy.content)]
    return [starts[i] for i in cut(split, [toy.content(start) for start in starts])]
