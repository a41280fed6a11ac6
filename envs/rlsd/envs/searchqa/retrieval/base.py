"""Retrievers: queries in, passages out. One async method; the environment, which is synchronous, asks through `ask`.

A retriever that computes in this process answers without ever waiting, so its coroutine is run to its end where it is
called. One that waits (a server) is run on an event loop of its own thread, shared by all environments of the process:
their connections are pooled, and every environment's step waits in the thread the rollout gave it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol, TypeVar, runtime_checkable

from rlsd.envs.errors import RlsdError
from rlsd.envs.searchqa.questions.types import Passage

T = TypeVar("T")
_LONGEST_END_S = 2.0
"""Seconds that closing connections may hold up the end of the process."""


class RetrievalError(RlsdError):
    """A search that gave no result. The episode failed; its answer was not wrong."""

    kind = "failed"


class RetrieverDown(RetrievalError):
    """Nobody answers at the address."""

    kind = "down"


class RetrieverSlow(RetrievalError):
    """No whole answer within the time limit."""

    kind = "slow"


class RetrieverFault(RetrievalError):
    """The server answered with an error of its own (5xx), or with too many requests (429)."""

    kind = "fault"


class RetrieverRefused(RetrievalError):
    """The server refused the request (4xx): trying again will not help."""

    kind = "refused"


class RetrieverGarbled(RetrievalError):
    """The answer is not what the protocol says."""

    kind = "garbled"


class RetrieverTooLarge(RetrievalError):
    """The answer exceeds the size limit."""

    kind = "too_large"


@runtime_checkable
class Retriever(Protocol):
    """Finds passages."""

    blocking: bool
    """True when `search` waits for something outside this process."""

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most `k` passages for each query, best first.

        Raises:
            RetrievalError: typed by what went wrong.
        """
        ...


def ask(retriever: Retriever, queries: Sequence[str], k: int) -> list[list[Passage]]:
    """`search` from synchronous code; the shape of the answer is checked.

    Raises:
        RetrievalError: from the retriever, or `RetrieverGarbled` for an answer of the wrong shape.
    """
    search = retriever.search(queries, k)
    found = _LOOPS.run(search) if retriever.blocking else _straight(search, type(retriever).__name__)
    if len(found) != len(queries) or any(len(passages) > k for passages in found):
        sizes = [len(passages) for passages in found]
        raise RetrieverGarbled(f"{len(queries)} queries for {k} passages each got lists of {sizes}")
    return found


def _straight(search: Coroutine[Any, Any, T], name: str) -> T:
    """Run a coroutine that does not wait."""
    try:
        search.send(None)
    except StopIteration as done:
        return done.value
    search.close()
    raise RetrievalError(f"{name} waits although it says blocking = False; set blocking = True")


class _Loops:
    """The process's event loop for retrievers, started when first needed, and anew after a fork.

    When the process ends, what retrievers left running on it is cancelled, which closes their connections.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = -1
        atexit.register(self.end)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except (FutureTimeout, asyncio.CancelledError) as error:  # pragma: no cover - retrievers raise their own
            raise RetrieverSlow("the search was cancelled") from error

    def end(self) -> None:
        """Close what is open and stop the loop; a later search starts another."""
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
                self._thread = threading.Thread(target=self._loop.run_forever, name="rlsd-retrieval", daemon=True)
                self._thread.start()
            return self._loop


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # a transport lets its socket go one turn after it was closed


_LOOPS = _Loops()
