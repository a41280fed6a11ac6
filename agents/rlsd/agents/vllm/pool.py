"""Several vLLM servers as one: least loaded first, an episode stays on its server, failures are retried.

A server that fails gets no requests until it answers with the current weights, which are sent again after a restart;
meanwhile requests wait or go to the other servers, so none is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from rlsd.agents.vllm.checks import Weights
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.errors import SamplerError, ServerMismatch, ServerReply, ServerUnreachable, StalePolicy
from rlsd.agents.vllm.gate import Gate
from rlsd.envs.remote.http_client import HttpClient

T = TypeVar("T")
BACK_OFF_S = 0.1
"""Pause in seconds before the first retry; doubled each time."""
LONGEST_PAUSE_S = 5.0


@dataclass(slots=True)
class _Session:
    """State of one event loop."""

    loop: asyncio.AbstractEventLoop
    ready: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """By server URL: finishes when the server is ready, fails when it cannot be used."""
    away: set[str] = field(default_factory=set)
    """URLs of servers that failed and have not recovered."""


class ServerPool:
    """Sends requests to the servers that `weights` keeps at the learner's weights.

    Args:
        weights: the servers and their policy versions.
        retries: maximum retries per request.
        reconnect_s: maximum wait for a failed server, in seconds.
    """

    def __init__(self, weights: Weights, *, retries: int, reconnect_s: float) -> None:
        self.weights = weights
        self.retries = retries
        self.reconnect_s = reconnect_s
        self.repeated = 0
        """Number of retries since construction."""
        self.gate = Gate()
        """Closed while weights change."""
        self._busy_s = 0.0
        self._under_way = 0
        self._since = 0.0
        self._home: dict[Hashable, VLLMServer] = {}
        self._session: _Session | None = None
        self._client = HttpClient()

    @property
    def busy_s(self) -> float:
        """Seconds with at least one open request since construction."""
        return self._busy_s + (time.perf_counter() - self._since if self._under_way else 0.0)

    def join(self, key: Hashable) -> None:
        """Assign the requests of `key` to one server, which caches their common prefixes."""
        if key in self._home:
            raise ValueError(f"{key} has joined already")
        self._home[key] = self._least_loaded({server.url: server for server in self.weights.servers})

    def leave(self, key: Hashable) -> None:
        self._home.pop(key, None)

    async def ask(self, key: Hashable, call: Callable[[VLLMServer, HttpClient, int], Awaitable[T]]) -> T:
        """The result of `call(server, client, policy version)`, with retries.

        Raises:
            SamplerError: no server returned a usable answer, or one uses other weights than it was sent.
        """
        session = self._begin()
        failures = 0
        while True:
            server = await self._pick(session, key)
            try:
                async with self.gate.passing():
                    return await self._call(server, call)
            except (ServerUnreachable, ServerReply) as error:
                failures += 1
                self._suspect(session, server)
                if failures > self.retries:
                    raise type(error)(f"{error} (tried {failures} times)") from error
                self.repeated += 1
            await asyncio.sleep(min(LONGEST_PAUSE_S, BACK_OFF_S * 2 ** (failures - 1)))

    async def _call(self, server: VLLMServer, call: Callable[[VLLMServer, HttpClient, int], Awaitable[T]]) -> T:
        version = self.weights.loaded_version(server)
        if version is None:  # it is sent its weights again after a restart
            raise ServerUnreachable(f"{server} has no weights yet")
        self._count(1)
        try:
            return await call(server, self._client, version)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        """Count open requests, for `busy_s`."""
        if self._under_way == 0:
            self._since = time.perf_counter()
        self._under_way += change
        if self._under_way == 0:
            self._busy_s += time.perf_counter() - self._since

    def _begin(self) -> _Session:
        """This event loop's session; a new one checks that every server still has its weights."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            self._session = _Session(loop=loop)
            for server in self.weights.servers:
                self._session.ready[server.url] = loop.create_task(self._make_ready(self._session, server))
        return self._session

    async def _pick(self, session: _Session, key: Hashable) -> VLLMServer:
        """The server of `key` if it is ready, else the least loaded ready one."""
        while True:
            for task in session.ready.values():
                if task.done() and isinstance(task.exception(), StalePolicy | ServerMismatch):
                    raise task.exception()  # type: ignore[misc]  # wrong weights on any server stop the run
            ready = {s.url: s for s in self.weights.servers if _is_up(session.ready[s.url])}
            home = self._home.get(key)
            if home is not None and home.url in ready:
                return home
            if home is not None and home.url not in session.away and not session.ready[home.url].done():
                await asyncio.wait({session.ready[home.url]}, timeout=0.05)  # its check is still running
                continue
            if ready:
                self._home[key] = self._least_loaded(ready)
                return self._home[key]
            coming = [task for task in session.ready.values() if not task.done()]
            if not coming:
                raise next(iter(session.ready.values())).exception() or SamplerError("no sampling server is ready")
            await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)

    def _least_loaded(self, servers: Mapping[str, VLLMServer]) -> VLLMServer:
        load = dict.fromkeys(servers, 0)
        for server in self._home.values():
            if server.url in load:
                load[server.url] += 1
        return servers[min(load, key=lambda url: load[url])]

    def _suspect(self, session: _Session, server: VLLMServer) -> None:
        """A request failed: send no more to this server until its check succeeds."""
        session.away.add(server.url)
        if session.ready[server.url].done():
            session.ready[server.url] = session.loop.create_task(self._make_ready(session, server))

    async def _make_ready(self, session: _Session, server: VLLMServer) -> None:
        """Return when `server` answers with the current weights; a restarted one is sent them again."""
        deadline = time.monotonic() + self.reconnect_s
        pause = BACK_OFF_S
        while True:
            try:
                if await asyncio.to_thread(server.healthy):
                    await asyncio.to_thread(self.weights.ensure, server)
                    session.away.discard(server.url)
                    return
                last: SamplerError = ServerUnreachable(f"{server} does not answer")
            except ServerUnreachable as error:
                last = error
            session.away.add(server.url)
            if time.monotonic() > deadline:
                raise self.gone(last)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    def gone(self, error: SamplerError) -> ServerUnreachable:
        """The error for a server that did not recover in time."""
        return ServerUnreachable(
            f"{error} (waited {self.reconnect_s:g} s). Restart the server or remove it from sampler.urls"
        )


def _is_up(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
