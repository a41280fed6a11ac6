"""Answers of HTTP servers, limited in size after decompression: a small answer may unpack to gigabytes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from rlsd.envs.errors import EnvError

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 64 << 20
"""Largest answer, unpacked."""
ACCEPTED = {"accept-encoding": "gzip, deflate"}
"""Header of a request whose answer is read here."""


class AnswerTooLarge(EnvError):
    """A server's answer exceeds the size limit once it is unpacked, or is packed in a way that was not asked for."""


def ask(client: httpx.Client, method: str, url: str, *, most: int = MAX_BYTES, **arguments: Any) -> httpx.Response:
    """`client.request(method, url, **arguments)`, whose answer has at most `most` bytes.

    Raises:
        AnswerTooLarge: it has more; the rest is not read.
        httpx.HTTPError: as there.
    """
    import httpx

    request = client.build_request(method, url, **arguments)
    request.headers.update(ACCEPTED)
    reply = client.send(request, stream=True)
    try:
        body = _Body(reply, most)
        for part in reply.iter_raw():
            body.add(part)
    finally:
        reply.close()
    return httpx.Response(reply.status_code, content=body.whole(), request=request)


async def ask_async(
    client: httpx.AsyncClient, method: str, url: str, *, most: int = MAX_BYTES, **arguments: Any
) -> httpx.Response:
    """`ask`, awaited."""
    import httpx

    request = client.build_request(method, url, **arguments)
    request.headers.update(ACCEPTED)
    reply = await client.send(request, stream=True)
    try:
        body = _Body(reply, most)
        async for part in reply.aiter_raw():
            body.add(part)
    finally:
        await reply.aclose()
    return httpx.Response(reply.status_code, content=body.whole(), request=request)


class _Body:
    """Unpacks an answer part by part, never further than the limit."""

    def __init__(self, reply: httpx.Response, most: int) -> None:
        self._url, self._most, self._size = str(reply.request.url), most, 0
        self._parts: list[bytes] = []
        packing = reply.headers.get("content-encoding", "identity").strip().lower()
        if packing not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise AnswerTooLarge(f"{self._url} packs its answer with {packing[:40]!r}, expected gzip or nothing")
        self._unpack = None if packing in ("identity", "") else zlib.decompressobj(32 + zlib.MAX_WBITS)

    def add(self, part: bytes) -> None:
        """
        Raises:
            AnswerTooLarge: more than the limit, or damaged.
        """
        if self._unpack is not None:
            try:
                part = self._unpack.decompress(part, self._most - self._size + 1)
            except zlib.error as error:
                raise AnswerTooLarge(f"{self._url} gave an answer that cannot be unpacked: {error}") from error
        self._size += len(part)
        if self._size > self._most:
            raise AnswerTooLarge(f"the answer of {self._url} exceeds {self._most} bytes")
        self._parts.append(part)

    def whole(self) -> bytes:
        return b"".join(self._parts)
