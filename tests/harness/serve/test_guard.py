"""The guard every server stands behind: who may ask, how much, and for how long."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from rlsd.harness.serve.guard import Limits, ServeError
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.sessions import SessionError, Sessions

TOKEN = "a-token-of-some-length"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body; `/slow` takes a second, `/half` stops in the middle of its answer."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    message = await receive()
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/half":
        await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": message["body"]})


@contextmanager
def serving(**arguments: Any) -> Iterator[httpx.Client]:
    with Background(Listener(echo, **arguments)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def test_loopback_needs_no_token_but_its_own_name() -> None:
    with serving() as client:
        assert client.post("/", content=b"hello").content == b"hello"
        for name in ("localhost:80", "127.0.0.1", "[::1]:9", "[::1]"):
            assert client.get("/", headers={"host": name}).status_code == 200, name
        for name in ("evil.example", "evil.example:80", "localhost.evil.example", ""):
            reply = client.get("/", headers={"host": name})
            assert reply.status_code == 403, name
            assert "localhost alone" in reply.json()["error"]


def test_tokens() -> None:
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    with serving(token=TOKEN) as client:
        for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
            assert client.get("/", headers={"authorization": right}).status_code == 200, right
        for wrong in ("", TOKEN, "Bearer", "Bearer x", f"Bearer {TOKEN}x", "Basic !!", "Basic eA==", f"Digest {TOKEN}"):
            reply = client.get("/", headers={"authorization": wrong})
            assert reply.status_code == 401, wrong
            assert reply.headers["www-authenticate"].startswith("Basic")
            assert TOKEN not in reply.text
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("token", [None, TOKEN])
def test_pages_of_other_sites_change_nothing(token: str | None) -> None:
    """A browser says where a request comes from; programs do not."""
    with serving(token=token) as client:
        if token:
            client.headers["authorization"] = f"Bearer {token}"
        own = str(client.base_url).rstrip("/")
        for allowed in (
            {},
            {"origin": own},
            {"sec-fetch-site": "same-origin", "origin": own},
            {"sec-fetch-site": "none"},
        ):
            for method in ("POST", "DELETE", "PUT"):
                assert client.request(method, "/", headers=allowed).status_code == 200, allowed
        for foreign in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:1"},
            {"origin": "http://127.0.0.1"},
            {"origin": ""},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "origin": own},
            {"sec-fetch-site": "cross-site", "origin": own},
        ):
            for method in ("POST", "DELETE", "PUT", "PATCH"):
                reply = client.request(method, "/", headers=foreign)
                assert reply.status_code == 403, foreign
                assert "another site's page" in reply.json()["error"]
            assert client.get("/", headers=foreign).status_code == 200, "reading is the browser's to refuse"


def test_bodies_are_limited_announced_or_not() -> None:
    with serving(limits=Limits(max_body_bytes=1000)) as client:
        assert client.post("/", content=b"x" * 1000).content == b"x" * 1000
        assert client.post("/", content=b"x" * 1001).status_code == 413
        assert client.post("/", content=(b"x" * 300 for _ in range(3))).status_code == 200
        assert client.post("/", content=(b"x" * 300 for _ in range(4))).status_code == 413


def test_time_is_limited() -> None:
    with serving(limits=Limits(request_s=0.05)) as client:
        reply = client.get("/slow")
        assert reply.status_code == 504
        assert "0.05 s" in reply.json()["error"]
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/half")
        assert client.get("/").status_code == 200


def test_a_body_that_never_ends_costs_its_time_only() -> None:
    with serving(limits=Limits(request_s=0.1)) as client:
        host, port = client.base_url.host, client.base_url.port
        assert port is not None
        with socket.create_connection((host, port)) as slow:
            slow.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\nabc".encode())
            assert slow.recv(4096).startswith(b"HTTP/1.1 504")
        with socket.create_connection((host, port)) as gone:
            gone.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\nabc".encode())
        assert client.get("/").status_code == 200


def test_requests_at_work_are_limited() -> None:
    async def ask(url: str) -> list[int]:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            replies = await asyncio.gather(*(client.get("/slow") for _ in range(6)))
            again = await client.get("/")
        return [*sorted(r.status_code for r in replies), again.status_code]

    with Background(Listener(echo, limits=Limits(max_requests=2))) as url:
        assert asyncio.run(ask(url)) == [200, 200, 503, 503, 503, 503, 200]


def test_limits_must_be_positive() -> None:
    with pytest.raises(ServeError, match="max_sessions"):
        Limits(max_sessions=0)


def test_sessions_are_bounded_and_end() -> None:
    now, ended = [0.0], []
    sessions: Sessions[str] = Sessions(
        Limits(max_sessions=2, session_idle_s=10), on_end=ended.append, clock=lambda: now[0]
    )
    first, second = sessions.open("a"), sessions.open("b")
    assert first != second
    with pytest.raises(SessionError, match="2 sessions are open"):
        sessions.open("c")
    now[0] = 8.0
    assert sessions.get(first) == "a"
    now[0] = 12.0  # the second has been idle for 12 s, the first for 4 s
    third = sessions.open("c")
    assert ended == ["b"]
    with pytest.raises(SessionError, match="no session"):
        sessions.get(second)
    sessions.end(third)
    sessions.end(third)
    sessions.close()
    assert ended == ["b", "c", "a"]
    assert len(sessions) == 0
