"""The original engine (packages `alfworld` and `textworld`) behind a minimal interface. Imported only on use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from rlsd.envs.errors import EnvError

_NEEDED = ("alfworld", "textworld", "fast_downward")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What an engine shows after a reset or a command."""

    observation: str
    admissible: list[str]
    reward: float
    done: bool
    won: bool


class Original:
    """One game at a time on the original engine, set up as in alfworld's own text environment, but without batches,
    step limit and domain randomisation.

    Opening or resetting a game takes seconds, a step 0.1 s, and a game at least 75 MB of memory.

    Raises:
        EnvError: the packages are not installed.
    """

    def __init__(self) -> None:
        absent = [name for name in _NEEDED if find_spec(name) is None]
        if absent:
            raise EnvError(
                f"the original ALFWorld engine is not installed (missing: {', '.join(absent)}); run "
                "`pip install 'rlsd[alfworld]'`, or keep backend='native', which plays the same games and texts"
            )
        with _process_kept():
            import textworld  # pyright: ignore[reportMissingImports]
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler  # pyright: ignore[reportMissingImports]
            from textworld.envs import PddlEnv  # pyright: ignore[reportMissingImports]

            self._env: Any = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))

    def open(self, data: dict[str, Any]) -> None:
        """Load a decoded `game.tw-pddl`: "pddl_domain", "grammar" and "pddl_problem" are used."""
        with _process_kept():
            self._env.load(data)

    def reset(self) -> Shown:
        """The game from its start; `open` it first."""
        with _process_kept():
            return _shown(self._env.reset(), 0.0, False)

    def step(self, command: str) -> Shown:
        """Do one command."""
        state, reward, done = self._env.step(command)
        return _shown(state, float(reward), bool(done))


@contextmanager
def _process_kept() -> Iterator[None]:
    """Restore what the packages change: `sys.argv` (the translator) and environment variables (on import)."""
    arguments, environment = sys.argv, dict(os.environ)
    try:
        yield
    finally:
        sys.argv = arguments
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


def _shown(state: Any, reward: float, done: bool) -> Shown:
    return Shown(
        observation=state.feedback,
        admissible=list(state["admissible_commands"]),
        reward=reward,
        done=done,
        won=bool(state["won"]),
    )
