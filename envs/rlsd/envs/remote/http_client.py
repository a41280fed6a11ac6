"""HTTP over kept connections: a request costs the client few tenths of a millisecond of CPU time.

httpx scans every connection of a pool at every request and reply, and a new connection for each request costs more
than the request. aiohttp does neither. Each event loop has its own connections, which close with it. An answer is
limited in time from connecting to its last byte, and in size after decompression.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rlsd.envs.remote.answers import MAX_BYTES
from rlsd.envs.remote.network import certificates, proxy_for

if TYPE_CHECKING:
    import aiohttp

KEPT_S = 2.0
"""Seconds an idle connection is kept: less than servers keep theirs (uvicorn, and so vLLM: 5 s)."""
Kind = Literal["connect", "broken", "slow", "too_large", "encoding"]


class HttpFailure(Exception):
    """No complete answer. Clients turn it into errors of their own.

    Attributes:
        kind: "connect" (no connection), "broken" (it ended early, or is no HTTP), "slow" (time is up), "too_large",
            "encoding" (compressed in a way that was not asked for, or wrongly).
    """

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Case-insensitive."""
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 become U+FFFD."""
        return self.body.decode("utf-8", "replace")


class _Open(NamedTuple):
    """The sessions of one event loop."""

    kept: aiohttp.ClientSession
    fresh: aiohttp.ClientSession
    """A new connection per request."""
    closing: asyncio.Task[None]


class HttpClient:
    """Sends requests from any number of event loops; each has its own connections, closed when the loop ends.

    Args:
        headers: sent with every request.
        most: concurrent requests of one event loop; further ones wait. None: no limit.
        proxies: use the proxies of the environment variables for addresses other than this machine's.
        compressed: ask for compressed answers.
        kept: keep connections for later requests. False: a new one per request, which is then never sent twice.
        max_bytes: largest answer, after decompression.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        most: int | None = None,
        proxies: bool = False,
        compressed: bool = False,
        kept: bool = True,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        encoding = "gzip, deflate" if compressed else "identity"
        self._headers = {"User-Agent": "rlsd", "Accept": "*/*", "Accept-Encoding": encoding, **(headers or {})}
        self._most = most or 0
        self._proxies, self._kept = proxies, kept
        self._max_bytes = max_bytes
        self._open: dict[asyncio.AbstractEventLoop, _Open] = {}
        self._ways: dict[str, dict[str, Any]] = {}
        """By URL: how it is reached."""

    async def post(self, url: str, body: bytes | str, *, timeout_s: float, **headers: str) -> Answer:
        """
        Raises:
            HttpFailure: no complete answer.
        """
        return await self.request("POST", url, body, timeout_s=timeout_s, **headers)

    async def request(
        self, method: str, url: str, body: bytes | str | None = None, *, timeout_s: float, **headers: str
    ) -> Answer:
        """The answer, whatever its status; redirects are not followed.

        A kept connection that turns out to be closed is replaced, and the request sent again.

        Raises:
            HttpFailure: no complete answer.
            RlsdError: certificates that cannot be read.
        """
        import aiohttp

        opened = self._opened()
        way = self._ways.get(url) or self._way(url)
        reused: list[bool] = []
        given = {"data": body, "headers": headers or None, "timeout": aiohttp.ClientTimeout(total=timeout_s), **way}
        try:
            try:
                if not self._kept:
                    return await self._ask(opened.fresh, method, **given)
                return await self._ask(opened.kept, method, trace_request_ctx=reused, **given)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not reused:
                    raise
            return await self._ask(opened.fresh, method, **given)
        except TimeoutError as error:
            raise HttpFailure("slow", f"no complete answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(error) from error

    async def close(self) -> None:
        """Close this loop's connections; a later request opens new ones."""
        mine = self._open.get(asyncio.get_running_loop())
        if mine is not None:
            mine.closing.cancel()
            await asyncio.wait({mine.closing})

    async def _ask(self, session: aiohttp.ClientSession, method: str, **given: Any) -> Answer:
        async with session.request(method, allow_redirects=False, **given) as reply:
            try:
                return Answer(reply.status, reply.headers, await self._body(reply))
            except BaseException:
                reply.close()  # what is left of it is not read
                raise

    async def _body(self, reply: aiohttp.ClientResponse) -> bytes:
        length, encoding = reply.content_length, reply.headers.get("Content-Encoding", "").strip().lower()
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        plain = encoding in ("", "identity")
        if plain and length is not None:
            return await reply.read()
        if not plain and encoding not in ("gzip", "x-gzip", "deflate"):
            raise HttpFailure("encoding", f"an answer in the encoding {encoding[:20]!r}, which was not requested")
        unpack = None if plain else zlib.decompressobj(47 if "gzip" in encoding else 15)
        parts, size = [], 0
        async for part in reply.content.iter_any():
            if unpack is not None:
                try:
                    part = unpack.decompress(part, self._max_bytes - size + 1)
                except zlib.error as error:
                    raise HttpFailure("encoding", f"an answer that is no {encoding}: {error}") from error
            size += len(part)
            if size > self._max_bytes:
                raise self._too_large()
            parts.append(part)
        if unpack is not None and size and not unpack.eof:
            raise HttpFailure("broken", f"ReadError: the {encoding} data ends early")
        return b"".join(parts)

    def _too_large(self) -> HttpFailure:
        return HttpFailure("too_large", f"the answer exceeds {self._max_bytes} bytes")

    def _way(self, url: str) -> dict[str, Any]:
        """URL, proxy and certificates, found once."""
        from yarl import URL

        way: dict[str, Any] = {"url": URL(url), "proxy": proxy_for(url) if self._proxies else None}
        if url.startswith("https:"):
            way["ssl"] = certificates()
        self._ways[url] = way
        return way

    def _opened(self) -> _Open:
        loop = asyncio.get_running_loop()
        mine = self._open.get(loop)
        if mine is None:
            import aiohttp

            seen = aiohttp.TraceConfig()
            seen.on_connection_reuseconn.append(_note)
            kept = aiohttp.TCPConnector(limit=self._most, keepalive_timeout=KEPT_S)
            fresh = aiohttp.TCPConnector(limit=self._most, force_close=True)
            sessions = self._session(kept, [seen]), self._session(fresh, [])
            mine = _Open(*sessions, loop.create_task(self._close_at_end(loop, sessions)))
            self._open[loop] = mine
        return mine

    def _session(self, connector: aiohttp.TCPConnector, traces: list[aiohttp.TraceConfig]) -> aiohttp.ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            trace_configs=traces,
        )

    async def _close_at_end(self, loop: asyncio.AbstractEventLoop, sessions: tuple[aiohttp.ClientSession, ...]) -> None:
        """Waits until the loop's end cancels it, then closes the connections."""
        try:
            await asyncio.Event().wait()
        finally:
            self._open.pop(loop, None)
            for session in sessions:
                with contextlib.suppress(Exception):
                    await session.close()
            await asyncio.sleep(0)  # a transport releases its socket one iteration after closing


async def _note(session: Any, context: Any, parameters: Any) -> None:
    """The request `context` goes over a connection that was kept."""
    context.trace_request_ctx.append(True)


def _failure(error: Exception) -> HttpFailure:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError | aiohttp.InvalidURL):
        return HttpFailure("connect", f"ConnectError: {_told(error)}")
    return HttpFailure("broken", f"ReadError: {_told(error)}")


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
