"""A bounded table of sessions for servers that keep a state for each client."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from rlsd.envs.errors import RlsdError
from rlsd.harness.serve.guard import Limits

T = TypeVar("T")


class SessionError(RlsdError):
    """No such session, or no room for another."""


class Sessions(Generic[T]):
    """Named values that end when nobody asks for them any more.

    Not thread-safe: call it from the event loop. Ids are random, so that one client cannot guess another's.

    Args:
        limits: `max_sessions` and `session_idle_s`.
        on_end: called with every value that leaves, however it leaves.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        on_end: Callable[[T], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._on_end = on_end
        self._clock = clock
        self._table: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def open(self, value: T) -> str:
        """Keep `value`; returns its session's id.

        Raises:
            SessionError: `max_sessions` are in use.
        """
        self.sweep()
        if len(self._table) >= self._limits.max_sessions:
            raise SessionError(f"{len(self._table)} sessions are open, no more are allowed; end one or wait")
        name = secrets.token_urlsafe(16)
        self._table[name] = (self._clock(), value)
        return name

    def get(self, name: str) -> T:
        """The session's value; its idle time starts anew.

        Raises:
            SessionError: never opened, ended, or idle for too long.
        """
        self.sweep()
        if name not in self._table:
            raise SessionError(f"no session {name[:40]!r}; it was ended or idle for {self._limits.session_idle_s:g} s")
        _, value = self._table[name]
        self._table[name] = (self._clock(), value)
        self._table.move_to_end(name)
        return value

    def end(self, name: str) -> None:
        """End a session; ending one that is gone does nothing."""
        entry = self._table.pop(name, None)
        if entry is not None:
            self._on_end(entry[1])

    def forget(self, name: str) -> None:
        """Take a session out without ending its value, which may hang."""
        self._table.pop(name, None)

    def sweep(self) -> None:
        """End what has been idle for too long; the table is in order of last use."""
        oldest = self._clock() - self._limits.session_idle_s
        while self._table and next(iter(self._table.values()))[0] < oldest:
            self.end(next(iter(self._table)))

    def close(self) -> None:
        """End all."""
        for name in list(self._table):
            self.end(name)
