"""Retrievers: queries in, passages out. One async method; the synchronous environment calls it through `ask`.

A retriever that computes in this process never waits, so its coroutine runs to completion in the caller. One that waits
(a server) runs on an event loop in its own thread, shared by all environments of the process: connections are pooled,
and each environment's step waits in its rollout thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from rlsd.envs.answers import well_formed
from rlsd.envs.errors import RlsdError
from rlsd.envs.searchqa.questions.types import Passage

T = TypeVar("T")
_LONGEST_END_S = 2.0
"""Maximum seconds to close connections at process exit."""


class RetrievalError(RlsdError):
    """A failed search. The episode failed; it is not a wrong answer."""

    kind = "failed"


class RetrieverDown(RetrievalError):
    """No server responds at the address."""

    kind = "down"


class RetrieverSlow(RetrievalError):
    """No complete reply within the time limit."""

    kind = "slow"


class RetrieverFault(RetrievalError):
    """The server replied with an internal error (5xx) or too many requests (429)."""

    kind = "fault"


class RetrieverRefused(RetrievalError):
    """The server refused the request (4xx): retrying will not help."""

    kind = "refused"


class RetrieverGarbled(RetrievalError):
    """The reply violates the protocol."""

    kind = "garbled"


class RetrieverTooLarge(RetrievalError):
    """The reply exceeds the size limit."""

    kind = "too_large"


@runtime_checkable
class Retriever(Protocol):
    """Finds passages."""

    blocking: bool
    """True when `search` waits for another process."""

    async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most `k` passages for each query, best first.

        Raises:
            RetrievalError: typed by what went wrong.
        """
        ...


def ask(retriever: Retriever, queries: Sequence[str], k: int) -> list[list[Passage]]:
    """`search` from synchronous code; checks the shape of the result, and replaces lone surrogates in it by U+FFFD.

    Raises:
        RetrievalError: from the retriever, or `RetrieverGarbled` for a result of the wrong shape.
    """
    search = retriever.search(queries, k)
    results = _LOOPS.run(search) if retriever.blocking else _straight(search, type(retriever).__name__)
    if len(results) != len(queries) or any(len(passages) > k for passages in results):
        sizes = [len(passages) for passages in results]
        raise RetrieverGarbled(f"{len(queries)} queries for {k} passages each got lists of {sizes}")
    return [[_well_formed(passage) for passage in passages] for passages in results]


def _well_formed(passage: Passage) -> Passage:
    title, text = well_formed(passage.title), well_formed(passage.text)
    same = title == passage.title and text == passage.text
    return passage if same else replace(passage, title=title, text=text)


def _straight(search: Coroutine[Any, Any, T], name: str) -> T:
    """Run a coroutine that does not wait."""
    try:
        search.send(None)
    except StopIteration as done:
        return done.value
    search.close()
    raise RetrievalError(f"{name} waits although it says blocking = False; set blocking = True")


class _Loops:
    """The process's event loop for retrievers, started on first use, and again after a fork.

    At process exit, tasks of retrievers still running on it are cancelled, which closes their connections.
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
    await asyncio.sleep(0)  # a transport releases its socket one loop iteration after closing


_LOOPS = _Loops()
