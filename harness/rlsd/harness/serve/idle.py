"""Connections that have no request at work: limited in number, and in the time they take to send one.

The guard sees a request once its head is whole. A client that connects and stays silent, or sends its head byte by
byte, would hold a place before that, without any token.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from rlsd.harness.serve.guard import Limits

_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Idle:
    """The connections without a request at work, the longest idle first.

    Args:
        limits: `head_s` and `max_idle_connections`.
    """

    def __init__(self, limits: Limits) -> None:
        self._head_s = limits.head_s
        self._most = min(limits.max_idle_connections, _half_of_the_files())
        self._timers: OrderedDict[Any, asyncio.TimerHandle | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._timers)

    def rests(self, connection: Any) -> None:
        """It waits for the next request, whose head has not begun. Drops the longest idle if there are too many."""
        self.works(connection)
        self._timers[connection] = None
        if len(self._timers) > self._most:
            oldest = next(iter(self._timers))
            self.works(oldest)
            oldest.transport.abort()

    def sends(self, connection: Any) -> None:
        """It sends a head, or is expected to from now on."""
        if self._timers.get(connection) is None and connection in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[connection] = loop.call_later(self._head_s, self._late, connection)

    def works(self, connection: Any) -> None:
        """It has a request at work, or is gone."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _late(self, connection: Any) -> None:
        self.works(connection)
        connection.transport.write(_LATE)
        connection.transport.close()


def watched(protocol: Any, limits: Limits) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol with its connections in an `Idle` of their own."""
    idle = Idle(limits)

    class Watched(protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            idle.rests(self)
            idle.sends(self)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._busy():
                idle.works(self)
            else:
                idle.sends(self)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._busy():
                idle.rests(self)

        def handle_websocket_upgrade(self, *event: Any) -> None:
            idle.works(self)  # from here on it is a session, which has limits of its own
            super().handle_websocket_upgrade(*event)

        def connection_lost(self, exc: Exception | None) -> None:
            idle.works(self)
            super().connection_lost(exc)

        def _busy(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

    return Watched


def _half_of_the_files() -> int:
    """Half of the files that this process may open, so that some are left for requests."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 1 << 20
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if most == resource.RLIM_INFINITY else max(1, most // 2)
