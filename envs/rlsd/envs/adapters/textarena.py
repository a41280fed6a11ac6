"""TextArena's single-player games, in their own words and with their own rewards.

rlsd check-env rlsd/TextArena-v0 --arg game=LightsOut-v0
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rlsd.envs.adapters.adapted import SPLITS, AdaptedEnv, State, numbered, one_of, seeds_of
from rlsd.envs.adapters.own_random import OwnRandom
from rlsd.envs.adapters.packages import needed
from rlsd.envs.adapters.textarena_games import GAMES, Arena
from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError, closest

ENV_ID = "rlsd/TextArena-v0"
_LONGEST = 2000
"""Characters of an action that reach the game."""
_TASKS = 400


class TextArenaEnv(AdaptedEnv):
    """Actions are TextArena's, in square brackets: `[7]`, `[up]`, `[0 3]`. Reward: TextArena's, at the end; 1 is a win.

    Args:
        game: an id of TextArena, such as "GuessTheNumber-v0" or "FrozenLake-v0-hardcore".
        split: train, valid or test; they share no game.
        settings: arguments of the game, such as {max_number: 50}.
        max_steps: the episode is truncated after so many steps, where the game does not end before.

    Raises:
        EnvError: an unknown argument or value; textarena is missing or too old.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/TextArena-v0", game="GuessTheNumber-v0", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("[7]")
    """

    blocking = False
    response_format = "think"
    accepts_formats = ("think", "compact")

    def __init__(
        self,
        *,
        game: str = "GuessTheNumber-v0",
        split: str = "train",
        settings: Mapping[str, Any] | None = None,
        max_steps: int = 100,
        render_mode: None = None,
    ) -> None:
        if not isinstance(settings or {}, Mapping):
            raise EnvError(f"settings={settings!r}: expected names with values, such as {{max_number: 50}}")
        one_of("split", split, tuple(SPLITS))
        base, _, _ = str(game).partition("-v0")
        self._arena: Arena = GAMES[one_of("game", base, tuple(GAMES))]
        self._game, self._settings = game, json.dumps(dict(settings or {}), sort_keys=True)
        self._seeds = _seeds(game, self._settings, split)
        name = game if not settings else f"{game}{self._settings}"
        super().__init__(
            tasks=numbered(ENV_ID, name, split, kind=base, count=len(self._seeds)),
            max_steps=max_steps,
        )
        self._env: Any = None

    def content(self, task_id: str) -> str:
        """The position at the start, hidden parts too."""
        return _content(self._game, self._settings, self._seeds[self.task_of(task_id).seed])

    def begin(self, task: Task) -> State:
        self._random, self._env = _opened(self._game, self._settings, self._seeds[task.seed])
        self._before: float | None = None
        return self._seen()

    def act(self, action: str) -> State:
        self._before = self._distance()
        with self._random, contextlib.redirect_stdout(io.StringIO()):
            self._env.step(str(action)[:_LONGEST])
        return self._seen()

    def goal(self) -> str:
        return self._arena.goal

    def hindsight(self) -> Hindsight:
        return Hindsight(
            answer=self._arena.answer(self._env),
            plan=self._plan(),
            distance=self._distance(),
            distance_before=self._before,
        )

    def expert(self, kind: str) -> str | None:
        """ "oracle" follows the plan, where one is known; there is no "explorer".

        Raises:
            EnvError: another kind.
        """
        if kind not in ("explorer", "oracle"):
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        return next(iter(self._plan()), None) if kind == "oracle" else None

    def _plan(self) -> tuple[str, ...]:
        return () if self._env.state.done else self._arena.plan(self._env) or ()

    def _distance(self) -> float | None:
        if self._env.state.done:
            return 0.0 if self._reward() >= 1 else None
        return float(len(self._plan())) or None

    def _reward(self) -> float:
        return float((self._env.state.rewards or {0: 0.0})[0])

    def _seen(self) -> State:
        state, ended = self._env.state, bool(self._env.state.done)
        action = type(self)._player_action()
        parts = [text for _, text, kind in state.get_current_player_observation() if kind != action]
        if ended and state.game_info[0].get("reason"):
            parts.append(state.game_info[0]["reason"])
        reward = self._reward() if ended else 0.0
        return State(
            observation="\n".join(part.strip() for part in parts) or "Nothing happens.",
            reward=reward,
            ended=ended,
            success=ended and reward >= 1,
            score=min(1.0, max(0.0, reward)),
            valid=state.error_count == 0 and not state.game_info[0]["invalid_move"],
            commands=None if ended else self._arena.commands(self._env),
        )

    @staticmethod
    def _player_action() -> Any:
        return import_textarena().ObservationType.PLAYER_ACTION


def import_textarena() -> Any:
    """The package.

    Raises:
        EnvError: it is missing, or too old.
    """
    return needed("textarena", extra="textarena", at_least="0.7")


def _opened(game: str, settings: str, seed: int) -> tuple[OwnRandom, Any]:
    """A fresh game of a seed, and its random state.

    Raises:
        EnvError: no such game, or settings that it does not take.
    """
    arena, own = import_textarena(), OwnRandom(seed)
    known = arena.envs.registration.ENV_REGISTRY
    if game not in known:
        mine = [name for name in known if name.split("-v0")[0] in GAMES and not name.endswith(("-raw", "-train"))]
        raise EnvError(f"unknown game {game!r}{closest(game, mine)}")
    try:
        with own, contextlib.redirect_stdout(io.StringIO()):
            env = arena.make(game if game.endswith("-raw") else f"{game}-raw", **json.loads(settings))
            env.reset(num_players=1, seed=seed)
    except Exception as error:  # whatever a game does with settings that it does not know
        raise EnvError(f"{game} cannot be opened with settings={settings}: {type(error).__name__}: {error}") from error
    return own, env


def _content(game: str, settings: str, seed: int) -> str:
    own, env = _opened(game, settings, seed)
    full = getattr(env, "full_grid", None)
    luck = own.ahead() if GAMES[game.partition("-v0")[0]].luck else None
    return json.dumps([game, settings, env.state.game_state, full, luck], default=str, sort_keys=True)


@lru_cache(maxsize=64)
def _seeds(game: str, settings: str, split: str) -> list[int]:
    return seeds_of(split, lambda seed: _content(game, settings, seed), size=_TASKS)
