"""Batches of episodes that play in the background, several in flight at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import replace

from rlsd.agents import event_loop
from rlsd.agents.daemon import daemon_future
from rlsd.harness.rollout.batch import Batch, Line
from rlsd.harness.rollout.rollout import Rollout
from rlsd.harness.rollout.settings import Usage

CLOSED_S = 10.0
"""Longest wait in seconds for the background's end."""


class Flight:
    """Plays batches in one event loop in a daemon thread: a slot that is free takes the next batch's episodes while the
    last ones of earlier batches still play.

    Args:
        rollout: its environments and agent; used by nobody else meanwhile.
        busy_s: seconds so far in which the sampler was generating.
    """

    def __init__(self, rollout: Rollout, busy_s: Callable[[], float] = lambda: 0.0) -> None:
        self.rollout = rollout
        self._busy_s = busy_s
        self._usage = Usage()
        """Of all batches together."""
        self._batches: list[Batch] = []
        """Those in flight."""
        self._line = Line(ends=False)
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._work: asyncio.Task[None] | None = None
        self._ended: Future[None] | None = None

    @property
    def episodes(self) -> int:
        """Episodes of all batches that have not ended yet."""
        return sum(batch.left for batch in self._batches)

    def start(self, batch: Batch, *, first: bool = False) -> None:
        """Let a batch's episodes play as slots become free, with `first` before those of batches that wait.

        Raises:
            Exception: what ended the background.
        """
        if self._ended is None:
            self._ended = daemon_future(lambda: event_loop.run(self._serve()), "rollout")
        elif self._ended.done():
            self._ended.result()
        self._batches = [*(b for b in self._batches if not b.finished.done()), batch]
        self._measure(batch)
        if not batch.plan:
            return batch.end()
        with suppress(RuntimeError):  # the background ended just now: `wait` says why
            self._loop.result().call_soon_threadsafe(lambda: self._line.join(batch, first=first))

    def settle(self, batch: Batch) -> Future[None]:
        """Wait until a batch is finished, or the background ended before; returns the future that is done."""
        assert self._ended is not None, "a batch is started before it is waited for"
        wait([batch.finished, self._ended], return_when=FIRST_COMPLETED)
        return batch.finished if batch.finished.done() else self._ended

    def wait(self, batch: Batch) -> None:
        """Wait until a batch is finished.

        Raises:
            Exception: what ended the background before.
        """
        self.settle(batch).result()

    def close(self) -> None:
        """Stop, whatever is under way."""
        if self._ended is None:
            return
        loop, work = self._loop.result(), self._work
        if work is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(work.cancel)
        wait([self._ended], timeout=CLOSED_S)

    def _measure(self, batch: Batch) -> None:
        """Let the batch's usage be that of all slots from now to its end."""
        batch.player.usage = now = self._usage
        before, busy, began = replace(now), self._busy_s(), time.perf_counter()
        slots = min(self.rollout.settings.slots, self.episodes)

        def at_end() -> None:
            batch.usage = Usage(
                wall_s=time.perf_counter() - began,
                env_s=now.env_s - before.env_s,
                agent_s=now.agent_s - before.agent_s,
                sampler_s=self._busy_s() - busy,
                slots=slots,
            )

        batch.at_end = at_end

    async def _serve(self) -> None:
        self._work = asyncio.current_task()
        self._loop.set_result(asyncio.get_running_loop())
        await self.rollout.serve(self._line, self.rollout.settings.slots)
