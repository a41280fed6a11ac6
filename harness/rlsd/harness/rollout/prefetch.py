"""Background work, one step at a time: the next rollout during the update."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Computes `work(step)` in a daemon thread before its result is needed.

    Args:
        work: must not use objects that the main thread changes meanwhile.
    """

    def __init__(self, work: Callable[[int], T]) -> None:
        self._work = work
        self._step: int | None = None
        self._thread: threading.Thread | None = None
        self._result: T | None = None
        self._error: BaseException | None = None

    def start(self, step: int) -> None:
        """Start `work(step)` in the background."""
        if self._step is not None:
            raise RuntimeError(f"step {self._step} is under way")
        self._step, self._result, self._error = step, None, None

        def run() -> None:
            try:
                self._result = self._work(step)
            except BaseException as error:  # raised by `take`
                self._error = error

        self._thread = threading.Thread(target=run, name=f"rollout {step}", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the started work is finished; `take` raises its error."""
        if self._thread is not None:
            self._thread.join()

    def take(self, step: int) -> T:
        """The result for `step`, computed now if it was not started."""
        if self._step != step:
            self.wait()
            self._step = None
            return self._work(step)
        self.wait()
        result, error, self._step = self._result, self._error, None
        self._result = None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]
