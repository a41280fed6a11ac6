"""An event loop in a thread of its own, for clients that are called from synchronous code."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from rlsd.envs.remote.http_client import HttpFailure

T = TypeVar("T")
_LONGEST_END_S = 2.0
"""Maximum seconds to close connections at process exit."""


class BackgroundLoop:
    """An event loop on a daemon thread, started on first use, and again after a fork.

    At process exit, tasks still running on it are cancelled, which closes their connections.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = -1
        atexit.register(self.end)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which runs on the loop while the caller waits; a caller that is interrupted cancels it.

        Raises:
            HttpFailure: the loop was ended meanwhile.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except FutureCancelled as error:
            raise HttpFailure("broken", "ReadError: the request was cancelled") from error
        except KeyboardInterrupt:
            future.cancel()
            raise

    def end(self) -> None:
        """Close what is open and stop the loop; later work starts another."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None or self._process != os.getpid():
            return
        with contextlib.suppress(FutureTimeout):
            asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result(_LONGEST_END_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LONGEST_END_S)
        if not thread.is_alive():
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._process != os.getpid():
                self._loop, self._process = asyncio.new_event_loop(), os.getpid()
                self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
                self._thread.start()
            return self._loop


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # a transport releases its socket one loop iteration after closing


REQUESTS = BackgroundLoop("rlsd-http")
"""The process's loop for HTTP clients that are called from synchronous code."""
