"""Errors that say what was given, what was expected and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from rlsd.envs.hiding import hidden

LISTED = 20
"""Names that an error lists at most."""


class RlsdError(Exception):
    """Base of every error a user can fix; the command line prints its one line, without secrets, and exits with 2."""

    def __str__(self) -> str:
        return hidden(super().__str__())


class TaskError(RlsdError):
    """A task that does not exist, or an id of the wrong form."""


class DataError(RlsdError):
    """A data file that is missing, damaged or not what its name says."""


class GameFileError(DataError):
    """A game file that is damaged, incomplete or not of the six known families; the rest of the folder may be fine."""


class EnvError(RlsdError):
    """An environment id that cannot be opened, or an environment that breaks the contract."""


class AnswerError(EnvError):
    """What `reset`, `step` or `hindsight` returned breaks the rule `rule` (`rlsd.envs.answers.RULES`)."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class EnvLost(EnvError):
    """An environment whose process ended or hangs, perhaps because of another environment in it.

    Args:
        own: this environment is why.
        reopen: opens the same again, in a process of its own.
    """

    def __init__(self, message: str, *, own: bool = False, reopen: Callable[[], Any] | None = None) -> None:
        super().__init__(message)
        self.own, self.reopen = own, reopen


def closest(name: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name (`rlsd.algorithms.errors` says the same).

    >>> closest("rlds", ["grpo", "rlsd"])
    ". Did you mean 'rlsd'? Known: grpo, rlsd."
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(names[:LISTED]) + (f", … ({len(names)} in all)" if len(names) > LISTED else "")
    return f".{hint} Known: {shown}."
