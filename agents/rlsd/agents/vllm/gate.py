"""Keeps requests and changes of weights apart, so that every request is answered by one policy version."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

AGAIN_S = 0.1
"""Seconds until requests that have not ended are hurried again: one may not have reached its server before."""


class Gate:
    """Requests pass in event loops of any thread; the weights change in a thread without one.

    Example: `async with gate.passing(): answer = await ask()` there, `with gate.closed(): load()` here.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._under_way = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """A request: begins when the gate is open."""
        while (waiter := self._enter()) is not None:
            await waiter
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self, hurry: Callable[[], bool] | None = None) -> Iterator[None]:
        """The block begins when the requests under way have ended; others wait until it is over.

        Args:
            hurry: makes the requests under way end soon; called again until they have, or until it returns False.
        """
        try:
            with self._changed:
                self._closed = True
            able = hurry is not None
            while self._under_way:
                able = able and hurry is not None and hurry()  # unlocked: requests end meanwhile
                with self._changed:
                    self._changed.wait_for(lambda: not self._under_way, AGAIN_S if able else None)
            yield
        finally:
            with self._changed:
                self._open()

    def _enter(self) -> asyncio.Future[None] | None:
        """Counts a request; what it has to wait for if the gate is closed."""
        with self._changed:
            if not self._closed:
                self._under_way += 1
                return None
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiting.append((loop, waiter))
            return waiter

    def _open(self) -> None:
        self._closed = False
        waiting, self._waiting = self._waiting, []
        for loop, waiter in waiting:
            with suppress(RuntimeError):  # its event loop has ended
                loop.call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
