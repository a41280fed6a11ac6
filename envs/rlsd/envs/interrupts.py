"""Which KeyboardInterrupt is the user's: an environment may raise one too."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Tells a Ctrl-C of the user from a KeyboardInterrupt that foreign code raises by itself.

    The value says whether a SIGINT has reached this process since; signals reach the main thread alone, so it is False
    elsewhere. After the block nobody watches: True.
    """
    received: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    watched = threading.current_thread() is threading.main_thread() and callable(previous)

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        if callable(previous):
            previous(number, frame)

    if watched:
        signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(received)
    finally:
        if watched:
            signal.signal(signal.SIGINT, previous)
        received.append(signal.SIGINT)
