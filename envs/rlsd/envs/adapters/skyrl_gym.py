"""Environments of SkyRL's gym: `init(prompt)` and `step(text)` over a file of problems.

rlsd check-env rlsd/SkyRLGym-v0 --arg game=gsm8k_multi_turn --arg data=problems.jsonl
"""

from __future__ import annotations

import importlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlsd.envs.adapters.adapted import SPLITS, AdaptedEnv, State, cut, numbered, one_of, seeds_of
from rlsd.envs.adapters.packages import needed
from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import DataError, EnvError, closest

ENV_ID = "rlsd/SkyRLGym-v0"
_LONGEST = 20_000
"""Characters of an action that reach the environment."""
_SUMS = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How one environment wants its answer."""

    key: str
    """Field of a row that has the solution as `ground_truth`."""
    pattern: str
    """What an action must contain to be understood."""
    write: str


_FORMS = {
    "aime": _Form(key="reward_model", pattern=r"Answer\s*:", write="Answer: {}"),
    "gsm8k": _Form(key="reward_spec", pattern=r"#### -?[0-9.,]+", write="#### {}"),
    "gsm8k_multi_turn": _Form(key="reward_spec", pattern=r"#### -?[0-9.,]+", write="#### {}"),
}
_OTHERS = ("lcb", "search", "searchcode", "text2sql")
"""They need a search server, a database or a sandbox, and rows that describe it."""


class SkyRLGymEnv(AdaptedEnv):
    """Actions are whole responses, such as `#### 42`. Rewards are SkyRL's, turn by turn.

    Args:
        game: "gsm8k", "gsm8k_multi_turn", "aime", another id of skyrl-gym, or "module:Class" of your own.
        split: train, valid or test; they share no problem.
        data: JSON lines of problems as SkyRL's data sets have them (`prompt`, `reward_spec` …); None: sums of two or
            three numbers, for gsm8k and aime.
        pattern: a regular expression that an action must contain to count as understood; None: what suits the game,
            and anything for others.
        max_steps: the episode is truncated after so many steps, where it does not end before.

    Raises:
        EnvError: an unknown argument or value; skyrl-gym is missing or too old.
        DataError: a file that is missing or damaged.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/SkyRLGym-v0", game="gsm8k", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("#### 42")
    """

    response_format = "think"
    accepts_formats = ("think", "compact")

    def __init__(
        self,
        *,
        game: str = "gsm8k",
        split: str = "train",
        data: str | Path | None = None,
        pattern: str | None = None,
        max_steps: int = 10,
        render_mode: None = None,
    ) -> None:
        one_of("split", split, tuple(SPLITS))
        own = isinstance(game, str) and ":" in game
        if not own:
            one_of("game", game, (*_FORMS, *_OTHERS))
        self._game, self._form = game, _FORMS.get(game)
        if data is None and self._form is None:
            raise EnvError(f"{game} needs data=FILE, JSON lines with prompt and what the environment asks for")
        try:
            self._pattern = re.compile(pattern if pattern is not None else self._form.pattern if self._form else "")
        except (re.error, TypeError) as error:
            raise EnvError(f"pattern={pattern!r} is no regular expression: {error}") from error
        self._gym = import_skyrl_gym(game if own else None)
        self._rows = _sums(self._form, split) if data is None and self._form else _read(Path(str(data)), split)
        name = game if data is None else f"{game}-{Path(data).stem}"
        super().__init__(
            tasks=numbered(ENV_ID, name, split, kind=game, count=len(self._rows)),
            max_steps=max_steps,
            max_chars=200_000,
        )
        self._env: Any = None

    def content(self, task_id: str) -> str:
        return json.dumps(self._rows[self.task_of(task_id).seed], sort_keys=True)

    def begin(self, task: Task) -> State:
        self.close()
        row = self._rows[task.seed]
        extras = {name: value for name, value in row.items() if name != "prompt"}
        try:
            self._env = self._gym.make(self._game, env_config={}, extras={"extra_info": {}, **extras})
            prompt, _ = self._env.init([dict(message) for message in row["prompt"]])
        except Exception as error:  # whatever an environment does with a row that it does not understand
            raise EnvError(f"{self._game} refused problem {task.task_id}: {type(error).__name__}: {error}") from error
        self._best, self._before = 0.0, None
        return State(observation=_text(prompt))

    def act(self, action: str) -> State:
        self._before = self._distance()
        text = str(action)[:_LONGEST]
        out = self._env.step(text)
        reward, ended = float(out["reward"]), bool(out["done"])
        self._best = max(self._best, reward)
        return State(
            observation=_text(out["observations"]) or ("The episode is over." if ended else "Go on."),
            reward=reward,
            ended=ended,
            success=ended and self._best >= 1,
            score=min(1.0, max(0.0, self._best)),
            valid=self._pattern.search(text) is not None,
        )

    def goal(self) -> str:
        return "answer the question." if self._form else f"solve the problem of {self._game}."

    def hindsight(self) -> Hindsight:
        truth = self._truth()
        if truth is None or self.state.ended:
            return Hindsight(distance=self._distance(), distance_before=self._before)
        return Hindsight(answer=truth, plan=self._plan(), distance=self._distance(), distance_before=self._before)

    def expert(self, kind: str) -> str | None:
        """ "oracle" writes the solution, where its form is known; there is no "explorer".

        Raises:
            EnvError: another kind.
        """
        if kind not in ("explorer", "oracle"):
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        return next(iter(self._plan()), None) if kind == "oracle" else None

    def close(self) -> None:
        super().close()
        env, self._env = getattr(self, "_env", None), None
        if env is not None:
            env.close()

    def _truth(self) -> str | None:
        """The row's solution."""
        row = self._rows[self.task.seed]
        for key in (self._form.key,) if self._form else ("reward_spec", "reward_model"):
            if isinstance(row.get(key), Mapping) and "ground_truth" in row[key]:
                return str(row[key]["ground_truth"])
        return None

    def _plan(self) -> tuple[str, ...]:
        truth = self._truth()
        return () if truth is None or self._form is None else (self._form.write.format(truth),)

    def _distance(self) -> float | None:
        if self.state.ended:
            return 0.0 if self.state.success else None
        return 1.0 if self._plan() else None


def import_skyrl_gym(own: str | None = None) -> Any:
    """The package, with an environment of one's own registered under its door.

    Raises:
        EnvError: it is missing or too old, or `own` cannot be imported.
    """
    gym = needed("skyrl_gym", distribution="skyrl-gym", extra="skyrl-gym", at_least="0.4")
    registration = importlib.import_module("skyrl_gym.envs.registration")
    importlib.import_module("skyrl_gym.envs")
    if own is not None and own not in registration.registry:
        module, _, name = own.rpartition(":")
        try:
            getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever a foreign module does when it is imported
            raise EnvError(f"game={own!r} cannot be imported: {type(error).__name__}: {error}") from error
        registration.register(id=own, entry_point=own)
    return gym


def _text(messages: Any) -> str:
    if isinstance(messages, str):
        return messages
    return "\n".join(str(message.get("content", "")).strip() for message in messages or ())


def _sums(form: _Form, split: str) -> Sequence[dict[str, Any]]:
    """Problems in words, so that everything can be tried without a data set."""

    def numbers(seed: int) -> list[int]:
        draw = random.Random(seed)
        return [draw.randint(2, 99) for _ in range(draw.choice((2, 3)))]

    seeds = seeds_of(split, lambda seed: str(numbers(seed)), size=_SUMS)
    rows = []
    for seed in seeds:
        terms = numbers(seed)
        shape = form.write.format("ANSWER")
        told = f"What is {' + '.join(map(str, terms))}? Finish with the answer in the form '{shape}'."
        truth = {"method": "rule", "ground_truth": str(sum(terms))}
        rows.append({"prompt": [{"role": "user", "content": told}], form.key: truth})
    return rows


@lru_cache(maxsize=16)
def _read(path: Path, split: str) -> Sequence[dict[str, Any]]:
    """Rows of a file; each problem goes to one split, by its text.

    Raises:
        DataError: no such file, a line that is no problem, or too few of them.
    """
    rows: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data={str(path)!r} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.setdefault(json.dumps([message["content"] for message in row["prompt"]]), row)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}:{number} is no problem ({type(error).__name__}: {error}); expected "
                '{"prompt": [{"role": "user", "content": "…"}], "reward_spec": {"ground_truth": "…"}}'
            ) from error
    try:
        return [list(rows.values())[i] for i in cut(split, list(rows))]
    except EnvError as error:
        raise DataError(f"{path}: {error}") from error
