"""Connections that send nothing, or a head that never ends: they cost nobody a place."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from rlsd.harness.serve.guard import Limits
from rlsd.harness.serve.listener import Background, Listener
from tests.harness.serve.test_guard import TOKEN, echo


@contextmanager
def serving(**limits: Any) -> Iterator[httpx.Client]:
    listener = Listener(echo, token=TOKEN, limits=Limits(**limits))
    headers = {"authorization": f"Bearer {TOKEN}"}
    with Background(listener) as url, httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        yield client


def connect(client: httpx.Client, sent: bytes = b"") -> socket.socket:
    assert client.base_url.port is not None
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=60)
    connection.sendall(sent)
    return connection


def rest(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    said = b""
    while part := connection.recv(4096):
        said += part
    return said


def answered(connection: socket.socket) -> bytes:
    """One whole answer, sent in chunks."""
    said = b""
    while not said.endswith(b"0\r\n\r\n"):
        said += connection.recv(4096)
    return said


def closed(connection: socket.socket) -> bool:
    """The server has closed it; whatever it said before is skipped."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize("sent", [b"", b"POST / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Endless: "])
def test_half_open_connections_deny_nobody(sent: bytes) -> None:
    with serving(max_connections=40, max_idle_connections=20, head_s=600.0) as client, ExitStack() as held:
        half = [held.enter_context(connect(client, sent)) for _ in range(60)]
        assert client.get("/").status_code == 200
        assert all(closed(connection) for connection in half[:30])
        half[-1].sendall(b"x")  # the newest are left alone


@pytest.mark.parametrize("sent", [b"", b"POST / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Endless: "])
def test_a_head_that_does_not_end_is_answered_408(sent: bytes) -> None:
    with serving(head_s=0.2) as client, connect(client, sent) as slow:
        said = rest(slow)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert client.get("/").status_code == 200


def test_the_second_head_of_a_connection_is_limited_too() -> None:
    whole = f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with serving(head_s=0.2) as client, connect(client, whole) as slow:
        assert answered(slow).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.6)  # between requests it may rest for longer than a head may take
        slow.sendall(whole)
        assert answered(slow).startswith(b"HTTP/1.1 200 ")
        slow.sendall(b"GET / HT")
        said = rest(slow)
        assert b"HTTP/1.1 408 " in said


def test_a_request_at_work_is_not_idle() -> None:
    """Longer than a head may take, and while others come and go."""
    with serving(head_s=0.2, max_idle_connections=2) as client, ExitStack() as held:
        whole = f"GET /slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        slow = held.enter_context(connect(client, whole))
        assert client.get("/").status_code == 200  # by now the other's head has been read
        time.sleep(0.1)
        for _ in range(6):
            held.enter_context(connect(client))
        assert answered(slow).startswith(b"HTTP/1.1 200 ")


def test_connections_that_rest_after_a_request_are_limited_in_number() -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(max_connections=40, max_idle_connections=20) as client, ExitStack() as held:
        for _ in range(60):
            resting = held.enter_context(connect(client, whole))
            assert answered(resting).startswith(b"HTTP/1.1 200 ")
        assert client.get("/").status_code == 200
