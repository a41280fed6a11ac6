"""An HTTP transport for many concurrent requests, each on its own connection.

httpx scans every connection of a pool at every request and reply: with 256 concurrent requests, one costs 13 ms of
client CPU time in one pool and 0.5 ms in pools of one connection. So this transport keeps pools of one connection and
gives each request a free one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import httpx


class Lanes(httpx.AsyncBaseTransport):
    """A transport for `httpx.AsyncClient(transport=...)` within one event loop.

    Args:
        most: concurrent requests; further ones wait. None: no limit.
        keep: keep connections open between requests.
    """

    def __init__(self, *, most: int | None = None, keep: bool = True) -> None:
        self._room = None if most is None else asyncio.Semaphore(most)
        self._limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        self._lanes: list[httpx.AsyncHTTPTransport] = []
        self._free: dict[bool, list[httpx.AsyncHTTPTransport]] = {False: [], True: []}
        """Free lanes: True for those that verify certificates (https)."""
        self._trusted: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._room is not None:
            await self._room.acquire()
        free = self._free[request.url.scheme == "https"]
        used: list[httpx.AsyncHTTPTransport] = []

        def give_back() -> None:
            free.extend(used)
            if self._room is not None:
                self._room.release()

        try:
            used.append(free.pop() if free else self._opened(secure=request.url.scheme == "https"))
            response = await used[0].handle_async_request(request)
        except BaseException:
            give_back()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Answer(response.stream, give_back)
        return response

    async def aclose(self) -> None:
        await asyncio.gather(*(lane.aclose() for lane in self._lanes), return_exceptions=True)

    def _opened(self, *, secure: bool) -> httpx.AsyncHTTPTransport:
        verify: ssl.SSLContext | bool = False
        if secure:
            verify = self._trusted = self._trusted or httpx.create_ssl_context()  # reads all certificates: once
        lane = httpx.AsyncHTTPTransport(verify=verify, limits=self._limits)
        self._lanes.append(lane)
        return lane


class _Answer(httpx.AsyncByteStream):
    """A response body; closing it frees its lane."""

    def __init__(self, body: httpx.AsyncByteStream, closed: Callable[[], None]) -> None:
        self._body, self._closed = body, closed
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            await self._body.aclose()
        finally:
            self._closed()
