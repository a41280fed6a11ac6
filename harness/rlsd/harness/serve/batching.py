"""Requests that wait together are searched together: one thread works while the next batch gathers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rlsd.envs.errors import RlsdError
from rlsd.envs.searchqa.questions.types import Passage

Search = Callable[[Sequence[str], int], list[list[Passage]]]


class Overloaded(RlsdError):
    """More queries wait than the server takes."""


class Batcher:
    """Gathers queries of concurrent requests into calls of a synchronous search.

    No request waits for others to come: what arrives while a batch is being searched makes up the next one.

    Args:
        search: called in one thread, never twice at once.
        max_batch: queries of one call.
        max_waiting: queries that may wait; more are refused.
        on_batch: called with the number of queries of every call (metrics).
    """

    def __init__(
        self, search: Search, *, max_batch: int, max_waiting: int, on_batch: Callable[[int], None] = lambda _: None
    ) -> None:
        self._search, self._max_batch, self._max_waiting, self._on_batch = search, max_batch, max_waiting, on_batch
        self._waiting: deque[tuple[list[str], int, asyncio.Future[list[list[Passage]]]]] = deque()
        self._queries = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rlsd-search")
        self._work: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Queries that wait or are being searched."""
        return self._queries

    async def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        """The best `k` passages of each query.

        Raises:
            Overloaded: too many queries wait.
            RlsdError: whatever the search raised.
        """
        if self._queries + len(queries) > self._max_waiting:
            raise Overloaded(f"{self._queries} queries wait; try again later")
        answer: asyncio.Future[list[list[Passage]]] = asyncio.get_running_loop().create_future()
        self._waiting.append((queries, k, answer))
        self._queries += len(queries)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._drain())
        try:
            return await answer
        finally:
            self._queries -= len(queries)

    async def close(self) -> None:
        """Let the running call end; drop what waits."""
        if self._work is not None:
            self._work.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = [self._waiting.popleft()]
            size = len(batch[0][0])
            while self._waiting and size + len(self._waiting[0][0]) <= self._max_batch:
                batch.append(self._waiting.popleft())
                size += len(batch[-1][0])
            batch = [entry for entry in batch if not entry[2].done()]  # whose client has gone
            if not batch:
                continue
            queries = [query for entry in batch for query in entry[0]]
            most = max(entry[1] for entry in batch)
            self._on_batch(len(queries))
            try:
                results = await loop.run_in_executor(self._thread, self._search, queries, most)
            except Exception as error:  # every request gets it; the server goes on
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            start = 0
            for asked, k, answer in batch:
                if not answer.done():
                    answer.set_result([passages[:k] for passages in results[start : start + len(asked)]])
                start += len(asked)
