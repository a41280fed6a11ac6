"""Background work, one step at a time: the next rollout during the update."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Generic, TypeVar

from rlsd.agents.daemon import daemon_future

T = TypeVar("T")


class Ahead(Generic[T]):
    """Computes `work(step)` in a daemon thread before its result is needed.

    Args:
        work: must not use objects that the main thread changes meanwhile.
    """

    def __init__(self, work: Callable[[int], T]) -> None:
        self._work = work
        self._begun: tuple[int, Future[T]] | None = None

    def start(self, step: int) -> None:
        """Start `work(step)` in the background."""
        if self._begun is not None:
            raise RuntimeError(f"step {self._begun[0]} is under way")
        self._begun = step, daemon_future(partial(self._work, step), f"rollout {step}")

    def wait(self) -> None:
        """Wait until the started work is finished; `take` raises its error."""
        if self._begun is not None:
            wait([self._begun[1]])

    def take(self, step: int) -> T:
        """The result for `step`, computed now if it was not started."""
        self.wait()
        begun, self._begun = self._begun, None
        return begun[1].result() if begun is not None and begun[0] == step else self._work(step)
