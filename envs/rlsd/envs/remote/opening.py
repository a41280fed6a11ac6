"""Giving up an environment that hangs while it is opened: whoever opens it leaves here what must be freed then."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from rlsd.envs.errors import EnvLost

_current: ContextVar[Attempt | None] = ContextVar("rlsd_opening", default=None)


class Attempt:
    """One opening of an environment, in a thread that another thread may give up waiting for.

    Example:
        >>> attempt = Attempt()
        >>> with attempt.running(): env = make("rlsd/Keys-v0")  # in a thread; meanwhile in another: attempt.give_up()
    """

    def __init__(self) -> None:
        self.given_up = False
        self._free: list[Callable[[], EnvLost | None]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """What is opened in this block belongs to the attempt."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def give_up(self) -> EnvLost | None:
        """Free what was taken so far, and at once what is still going to be taken.

        Returns:
            The error if the environment's process is lost.
        """
        with self._lock:
            self.given_up = True
            free, self._free = self._free, []
        return next((lost for lost in [function() for function in free] if lost is not None), None)

    def _leave(self, free: Callable[[], EnvLost | None]) -> None:
        with self._lock:
            if not self.given_up:
                self._free.append(free)
                return
        free()


def freed_by(free: Callable[[], EnvLost | None]) -> None:
    """Let `free` be called if the opening that runs in this thread is given up; nothing happens outside of one."""
    attempt = _current.get()
    if attempt is not None:
        attempt._leave(free)
