"""Where a server listens, and how it starts and stops. Needs the extra `serve`.

A server listens on this machine alone unless another address is given, and any other address needs a token.
"""

from __future__ import annotations

import socket
import threading
from importlib.util import find_spec
from types import TracebackType

from rlsd.harness.serve.guard import LOOPBACK, App, Guard, Limits, ServeError, is_loopback
from rlsd.harness.serve.idle import watched

_SHORTEST_TOKEN = 16
_DRAIN_S = 3
"""Seconds running requests may take to end when the server stops."""


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


def bind(host: str, port: int, *, backlog: int | None = None) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ServeError: the address is taken, or not this machine's.
    """
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        return socket.create_server((bare, port), family=family, backlog=backlog)
    except (OSError, OverflowError) as error:
        raise ServeError(f"cannot listen on {host}:{port}: {error}") from error


class Listener:
    """An application behind the guard, bound to an address but not yet serving.

    Args:
        app: the ASGI application.
        host: loopback unless a token is given.
        port: 0 takes a free one; see `url`.
        sockets: take WebSockets, too.

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
        sockets: bool = False,
    ) -> None:
        check_bind(host, token)
        try:
            import uvicorn

            if sockets:
                import wsproto  # noqa: F401  (uvicorn imports it later)
        except ImportError as error:
            raise ServeError("serving needs uvicorn, starlette and wsproto: pip install 'rlsd[serve]'") from error
        limits = limits or Limits()
        self._socket = bind(host, port, backlog=limits.max_connections)
        # Connections inherit it; asyncio sets it for sockets of its own only. Without, the body of an answer waits
        # 40 ms for the client to acknowledge its head.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bare = host.strip("[]")
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
            ws="wsproto" if sockets else "none",
            ws_max_size=limits.max_body_bytes,
            http="httptools" if find_spec("httptools") else "h11",
        )
        config.load()
        config.http_protocol_class = watched(config.http_protocol_class, limits)
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
