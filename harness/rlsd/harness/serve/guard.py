"""What every server of rlsd keeps to, whatever it serves.

* With a token, only requests that send it are answered, open paths such as /health apart.
* Without a token, only requests that name this machine in their `Host` header are answered, so that a web page opened
  in a browser here cannot reach the server through a name of its own.
* A request that changes something, or opens a WebSocket, is answered only if no page of another site sent it.
* A request's body, its time, and the number of requests at work are limited; so are sessions (`Sessions`), and
  connections that send nothing (`Idle`). A WebSocket is a session: its application limits messages, time and number.

`Guard` is plain ASGI and wraps any application; `listener` binds it to an address.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from rlsd.envs.errors import RlsdError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOOPBACK = "127.0.0.1"
_SAFE = ("GET", "HEAD", "OPTIONS")
_OF_FORMS = ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded")
"""Types of a body that a page may send to any other site, unasked."""
_NAMES = {"localhost", "127.0.0.1", "[::1]", "::1"}


class ServeError(RlsdError):
    """A server that may not or cannot start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may cost."""

    max_body_bytes: int = 1 << 20
    request_s: float = 30.0
    """From the first byte of a request to the last of its answer."""
    max_requests: int = 512
    """Requests at work at once; one more is answered 503 at once."""
    max_connections: int = 2048
    max_idle_connections: int = 1024
    """Connections without a request at work; of more, the longest idle is dropped."""
    head_s: float = 10.0
    """From connecting, or from the first byte of a later request, to the end of its headers."""
    max_sessions: int = 1024
    session_idle_s: float = 900.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ServeError(f"{name} must be above 0, got {getattr(self, name)!r}")


def is_loopback(host: str) -> bool:
    """The address or name is this machine's own and cannot be reached from another."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """An ASGI application that lets through what it may.

    Answers of its own are JSON, `{"error": "…"}`: 401 no or wrong token, 403 a foreign `Host` or page, 413 a body too
    large, 503 too many requests at work, 504 out of time. The token comes as `Authorization: Bearer TOKEN`, or as the
    password of basic authentication (browsers ask for it). The body is read before the application starts, so a slow
    sender costs a place, never a worker.

    Args:
        app: what to protect.
        token: the secret, or None (loopback only).
        limits: see `Limits`.
        open_paths: answered without a token; they still count against the limits.
    """

    def __init__(
        self, app: App, *, token: str | None, limits: Limits, open_paths: frozenset[str] = frozenset({"/health"})
    ) -> None:
        self.app = app
        self.limits = limits
        self._token = None if token is None else token.encode()
        self._open = open_paths
        self._at_work = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if scope["type"] == "websocket":
            refusal = self._refusal("CONNECT", scope["path"], headers)
            if refusal is not None:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})  # answered as 403
                return
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope["method"], scope["path"], headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if self._at_work >= self.limits.max_requests:
            await _answer(send, 503, f"{self._at_work} requests are at work; try again", (b"retry-after", b"1"))
            return
        self._at_work += 1
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self.limits.request_s):
                body = await _read(receive, self.limits.max_body_bytes)
                if body is None:
                    await _answer(watched, 413, f"the body exceeds {self.limits.max_body_bytes} bytes")
                    return
                await self.app(scope, _replay(body, receive), watched)
        except TimeoutError:
            if not started:  # otherwise the connection closes on a half answer, which no client takes for a whole one
                await _answer(send, 504, f"no answer within {self.limits.request_s:g} s")
        except _Gone:
            return
        finally:
            self._at_work -= 1

    def _refusal(self, method: str, path: str, headers: dict[bytes, bytes]) -> tuple[Any, ...] | None:
        if self._token is None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host if host.endswith("]") else host.rsplit(":", 1)[0]
            if name not in _NAMES and not is_loopback(name):
                return 403, f"this server answers to localhost alone, not to {host[:80]!r}"
        elif path not in self._open and not self._authorised(headers.get(b"authorization", b"")):
            return 401, "a token is needed: Authorization: Bearer …", (b"www-authenticate", b'Basic realm="rlsd"')
        if method not in _SAFE and _from_elsewhere(headers):
            return 403, "another site's page sent this request; send it from a program or a page of this server"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return 400, "Content-Length is not a number"
        if int(length) > self.limits.max_body_bytes:
            return 413, f"the body exceeds {self.limits.max_body_bytes} bytes"
        return None

    def _authorised(self, header: bytes) -> bool:
        assert self._token is not None
        scheme, _, value = header.partition(b" ")
        if scheme.lower() == b"basic":
            try:
                value = base64.b64decode(value, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(value.strip(), self._token)


def _from_elsewhere(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser says that a page of another site sent the request. Programs send neither header."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site.strip().lower() not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    return origin is not None and origin.lower().partition(b"://")[2] != headers.get(b"host", b"").lower()


def no_json(content_type: str | None) -> str | None:
    """Why a body of this type is refused where JSON is expected; forms of other sites' pages cannot send that."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in _OF_FORMS:
        return f"Content-Type is {kind}, expected application/json"
    return None


class _Gone(Exception):
    """The client hung up before its request was whole."""


async def _read(receive: Receive, most: int) -> bytes | None:
    """The whole body; None when it exceeds `most` bytes."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            return None
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()  # only a disconnect can follow
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _answer(send: Send, status: int, error: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": error}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
