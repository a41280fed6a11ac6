"""Work beside the caller, in a thread that never keeps the process alive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def daemon_future(work: Callable[[], T], name: str) -> Future[T]:
    """Start `work()` in a daemon thread of its own.

    Unlike an executor's, the thread is not waited for when the process ends, so work that hangs cannot hold it.

    Args:
        work: runs at once; cannot be cancelled.
        name: the thread's, for debuggers and stack dumps.

    Returns:
        A future with the result, or with whatever `work` raised (`KeyboardInterrupt` and `SystemExit` too).
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # it has begun: `cancel` returns False

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
