"""GEM's games and questions (`gem-llm`), behind its own `step(text)`.

rlsd check-env rlsd/GEM-v0 --arg game=game:Mastermind-v0-easy
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rlsd.envs.adapters.adapted import SPLITS, AdaptedEnv, State, numbered, one_of, seeds_of
from rlsd.envs.adapters.own_random import OwnRandom
from rlsd.envs.adapters.packages import needed
from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError, closest

ENV_ID = "rlsd/GEM-v0"
_LONGEST = 4000
"""Characters of an action that reach the game."""
_TASKS = 400
_END = "<｜TERMINAL_STATE｜>"
_FAMILIES = ("game:", "rg:")
"""What runs without a download: the others load a data set from a hub."""
_LUCK = ("game:Minesweeper", "game:Game2048")
"""Games that random numbers decide, too, which are drawn later."""
_SECRETS: dict[str, Callable[[Any], str]] = {
    "game:GuessTheNumber": lambda env: str(env.game_number),
    "game:Mastermind": lambda env: " ".join(map(str, env.game_code)),
    "rg:": lambda env: str(env.data["answer"]),
}
"""Where an environment keeps its solution."""


class GemEnv(AdaptedEnv):
    r"""Actions are GEM's: text with `\boxed{…}`. Rewards are GEM's, summed over the episode.

    Args:
        game: an id of GEM: "game:GuessTheNumber-v0-easy", "rg:basic_arithmetic", …
        split: train, valid or test; they share no game.
        max_steps: the episode is truncated after so many steps, where the game does not end before.

    Raises:
        EnvError: an unknown argument or value; gem-llm is missing or too old.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/GEM-v0", game="game:GuessTheNumber-v0-easy", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("\\boxed{7}")
    """

    blocking = False
    response_format = "think"
    accepts_formats = ("think", "compact")

    def __init__(
        self,
        *,
        game: str = "game:GuessTheNumber-v0-easy",
        split: str = "train",
        max_steps: int = 100,
        render_mode: None = None,
    ) -> None:
        one_of("split", split, tuple(SPLITS))
        if not str(game).startswith(_FAMILIES):
            raise EnvError(f"game={game!r}: expected a game:… or rg:… of GEM; the others load a data set from a hub")
        self._game = game
        self._secret = next((read for name, read in _SECRETS.items() if game.startswith(name)), None)
        self._seeds = _seeds(game, split)
        kind = game.split("-v0")[0].partition(":")[2]
        super().__init__(
            tasks=numbered(ENV_ID, game, split, kind=kind, count=len(self._seeds)),
            max_steps=max_steps,
        )
        self._env: Any = None

    def content(self, task_id: str) -> str:
        """The first observation and the game's hidden state."""
        return _content(self._game, self._seeds[self.task_of(task_id).seed])

    def begin(self, task: Task) -> State:
        self._random, self._env, observation = _opened(self._game, self._seeds[task.seed])
        self._before: float | None = None
        return State(observation=observation)

    def act(self, action: str) -> State:
        self._before = self._distance()
        text = str(action)[:_LONGEST]
        with self._random, contextlib.redirect_stdout(io.StringIO()):
            observation, reward, terminated, truncated, _ = self._env.step(text)
        reward, ended = float(reward), bool(terminated or truncated)
        return State(
            observation="The episode is over." if observation == _END else observation,
            reward=reward,
            ended=ended,
            success=ended and reward >= 1,
            score=min(1.0, max(0.0, reward)),
            valid="\\boxed{" in text,
        )

    def goal(self) -> str:
        return "answer the question." if self._game.startswith("rg:") else f"win {self.task.task_type}."

    def hindsight(self) -> Hindsight:
        if self._secret is None or self.state.ended:
            return Hindsight(distance=self._distance(), distance_before=self._before)
        return Hindsight(
            answer=self._secret(self._env),
            plan=self._plan(),
            distance=self._distance(),
            distance_before=self._before,
        )

    def expert(self, kind: str) -> str | None:
        """ "oracle" gives the solution, where it is known; there is no "explorer".

        Raises:
            EnvError: another kind.
        """
        if kind not in ("explorer", "oracle"):
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        return next(iter(self._plan()), None) if kind == "oracle" else None

    def _plan(self) -> tuple[str, ...]:
        return () if self._secret is None else (f"\\boxed{{{self._secret(self._env)}}}",)

    def _distance(self) -> float | None:
        if self.state.ended:
            return 0.0 if self.state.success else None
        return None if self._secret is None else 1.0


def import_gem() -> Any:
    """The package.

    Raises:
        EnvError: it is missing, or too old.
    """
    return needed("gem", distribution="gem-llm", extra="gem", at_least="0.1")


def _opened(game: str, seed: int) -> tuple[OwnRandom, Any, str]:
    """Random state, environment and first observation.

    Raises:
        EnvError: no such game, or one that cannot be opened.
    """
    gem, own = import_gem(), OwnRandom(seed)
    known = gem.envs.registration.ENV_REGISTRY
    if game not in known:
        raise EnvError(f"unknown game {game!r}{closest(game, [name for name in known if name.startswith(_FAMILIES)])}")
    try:
        with own, contextlib.redirect_stdout(io.StringIO()):
            env = gem.make(game)
            observation, _ = env.reset(seed=seed)
    except Exception as error:  # whatever a game does, such as looking for a word list that is not there
        told = (str(error).strip().splitlines() or [""])[0]
        told = told.strip("*") or "a file is missing, which GEM downloads"
        raise EnvError(f"{game} cannot be opened: {type(error).__name__}: {told}") from error
    return own, env, observation


def _content(game: str, seed: int) -> str:
    own, env, observation = _opened(game, seed)
    hidden = {name: value for name, value in vars(env).items() if name not in ("ds", "ds_iter", "reward_fn", "idx")}
    luck = own.ahead() if game.startswith(_LUCK) else None
    return json.dumps([observation, hidden, luck], default=str, sort_keys=True)


@lru_cache(maxsize=64)
def _seeds(game: str, split: str) -> list[int]:
    return seeds_of(split, lambda seed: _content(game, seed), size=_TASKS)
