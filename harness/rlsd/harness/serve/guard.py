"""What every server of rlsd keeps to, whatever it serves.

* It listens on this machine alone unless told otherwise, and any other address needs a token.
* Without a token, only requests that name this machine in their `Host` header are answered, so that a web page opened
  in a browser here cannot reach the server through a name of its own.
* A request's body, its time, and the number of requests at work are limited; so are sessions (`Sessions`).

`Guard` is plain ASGI and wraps any application; `run` and `Background` need the extra `serve`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rlsd.envs.errors import RlsdError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOOPBACK = "127.0.0.1"
_NAMES = {"localhost", "127.0.0.1", "[::1]", "::1"}
_SHORTEST_TOKEN = 16
_DRAIN_S = 3
"""Seconds running requests may take to end when the server stops."""


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


def check_bind(host: str, token: str | None) -> None:
    """Refuse to serve the network without a token.

    Raises:
        ServeError: another address than loopback and no token, or a token too short to be a secret.
    """
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ServeError(f"the token has {len(token)} characters; a secret needs at least {_SHORTEST_TOKEN}")
    if token is None and not is_loopback(host):
        raise ServeError(
            f"{host!r} can be reached from other machines, so a token is needed: set RLSD_TOKEN or give --token; "
            f"or keep --host {LOOPBACK}"
        )


class Guard:
    """An ASGI application that lets through what it may.

    Answers of its own are JSON, `{"error": "…"}`: 401 no or wrong token, 403 a foreign `Host`, 413 a body too large,
    503 too many requests at work, 504 out of time. The token comes as `Authorization: Bearer TOKEN`, or as the password
    of basic authentication (browsers ask for it). The body is read before the application starts, so a slow sender
    costs a place, never a worker.

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
        if scope["type"] != "http":  # no websockets
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope["path"], headers)
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

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> tuple[Any, ...] | None:
        if self._token is None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host if host.endswith("]") else host.rsplit(":", 1)[0]
            if name not in _NAMES and not is_loopback(name):
                return 403, f"this server answers to localhost alone, not to {host[:80]!r}"
        elif path not in self._open and not self._authorised(headers.get(b"authorization", b"")):
            return 401, "a token is needed: Authorization: Bearer …", (b"www-authenticate", b'Basic realm="rlsd"')
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return 400, "Content-Length is no number"
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
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()  # only a disconnect can follow
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _answer(send: Send, status: int, error: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": error}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


class Listener:
    """An application behind the guard, bound to an address but not yet serving.

    Args:
        app: the ASGI application.
        host: loopback unless a token is given.
        port: 0 takes a free one; see `url`.

    Raises:
        ServeError: the extra is missing, the address is refused or taken.
    """

    def __init__(
        self,
        app: App,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        token: str | None = None,
        limits: Limits | None = None,
        open_paths: frozenset[str] = frozenset({"/health"}),
    ) -> None:
        check_bind(host, token)
        try:
            import uvicorn
        except ImportError as error:
            raise ServeError("serving needs uvicorn and starlette: pip install 'rlsd[serve]'") from error
        limits = limits or Limits()
        bare = host.strip("[]")
        try:
            family = socket.AF_INET6 if ":" in bare else socket.AF_INET
            self._socket = socket.create_server((bare, port), family=family, backlog=limits.max_connections)
            # Connections inherit it; asyncio sets it for sockets of its own only. Without, the body of an answer waits
            # 40 ms for the client to acknowledge its head.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, OverflowError) as error:
            raise ServeError(f"cannot listen on {host}:{port}: {error}") from error
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{bare}]' if ':' in bare else bare}:{self.port}"
        config = uvicorn.Config(
            Guard(app, token=token, limits=limits, open_paths=open_paths),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=limits.max_connections,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_DRAIN_S,
            ws="none",
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until interrupted (SIGINT, SIGTERM) or stopped."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Make `run` return soon; may be called from another thread."""
        self._server.should_exit = True

    @property
    def ready(self) -> bool:
        return self._server.started


class Background:
    """A listener that serves from a thread while the `with` block lasts (tests, benchmarks, notebooks).

    Example:
        >>> with Background(Listener(app)) as url: ...
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._thread = threading.Thread(target=listener.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        while not self._listener.ready:
            if not self._thread.is_alive():
                raise ServeError("the server stopped before it was ready; its log says why")
            self._thread.join(0.005)
        return self._listener.url

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop()
        self._thread.join()
