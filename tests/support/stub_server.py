"""A small HTTP server on threads that does to each request what a script says, byte by byte if need be."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Act = Callable[[socket.socket, Request], bool]
"""Answers one request; returns whether the connection stays open."""


@dataclass
class Stub:
    """The server. The n-th request gets the n-th act, later ones the last.

    Attributes:
        requests: what was asked so far, in order.
        connections: how many were opened.
    """

    acts: list[Act]
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections, as a server that restarts does."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as file:
            while (request := _read(file)) is not None:
                with self._lock:
                    act = self.acts[min(len(self.requests), len(self.acts) - 1)]
                    self.requests.append(request)
                if not act(connection, request):
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                    break
        self._open.discard(connection)


@contextlib.contextmanager
def stub(*acts: Act, port: int = 0) -> Iterator[Stub]:
    server = Stub(list(acts), port)
    try:
        yield server
    finally:
        server.stop()


def _read(file: Any) -> Request | None:
    first = file.readline().decode("latin-1").split()
    if len(first) < 2:
        return None
    headers: dict[str, str] = {}
    while (line := file.readline().decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(first[0], first[1], headers, file.read(int(headers.get("content-length", 0))))


# acts -----------------------------------------------------------------------------------------------------------------


def says(status: int, body: Any = b"", /, **headers: str) -> Act:
    """An ordinary answer; a body that is no bytes becomes JSON, header names are written with _ for -."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw(head(status, len(data), **headers) + data)


def head(status: int, length: int | None, /, **headers: str) -> bytes:
    given = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if length is not None:
        given["content-length"] = str(length)
    return "".join([f"HTTP/1.1 {status} X\r\n", *(f"{k}: {v}\r\n" for k, v in given.items()), "\r\n"]).encode()


def raw(data: bytes, *, keep: bool = True) -> Act:
    """These bytes, whatever they are; `keep=False` closes the connection after them."""

    def act(connection: socket.socket, request: Request) -> bool:
        connection.sendall(data)
        return keep

    return act


def resets(data: bytes = b"") -> Act:
    """A reset of the connection (RST) after these bytes."""

    def act(connection: socket.socket, request: Request) -> bool:
        connection.sendall(data)
        time.sleep(0.02)  # the client reads them first
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return False

    return act


def drips(data: bytes, *, every_s: float = 0.05) -> Act:
    """One byte at a time."""

    def act(connection: socket.socket, request: Request) -> bool:
        for i in range(len(data)):
            connection.sendall(data[i : i + 1])
            time.sleep(every_s)
        return False

    return act


def hangs(data: bytes = b"", *, for_s: float = 30.0) -> Act:
    """These bytes, then nothing; ends when the client leaves."""

    def act(connection: socket.socket, request: Request) -> bool:
        connection.sendall(data)
        connection.settimeout(for_s)
        with contextlib.suppress(OSError):
            connection.recv(1)
        return False

    return act


def half_closes(data: bytes = b"") -> Act:
    """These bytes and the end of the stream, while the other direction stays open."""

    def act(connection: socket.socket, request: Request) -> bool:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5.0)
        with contextlib.suppress(OSError):
            connection.recv(1)
        return False

    return act
