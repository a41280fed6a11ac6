"""Where a server may listen: this machine without a token, the network only with one."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from rlsd.harness.serve.guard import ServeError, is_loopback
from rlsd.harness.serve.listener import Background, Listener, bind, check_bind

TOKEN = "a-token-of-some-length"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that is never asked."""


@pytest.mark.parametrize(
    "host, own",
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_what_loopback_is(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    check_bind(host, TOKEN)
    if own:
        check_bind(host, None)
    else:
        with pytest.raises(ServeError, match="token is needed"):
            check_bind(host, None)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(ServeError, match="at least 16"):
        check_bind("127.0.0.1", "short")


def test_a_taken_port_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"cannot listen on 127.0.0.1:{port}"):
            Listener(nothing, port=port)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Connections take this from the socket that listens."""
    listener = Listener(nothing)
    with listener._socket as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_no_network_address_without_a_token() -> None:
    with pytest.raises(ServeError, match="RLSD_TOKEN"):
        Listener(nothing, host="0.0.0.0")


def test_port_0_takes_a_free_port() -> None:
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert port > 0
        with pytest.raises(ServeError, match=f"cannot listen on 127.0.0.1:{port}"):
            bind("127.0.0.1", port)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # uvicorn exits its thread
def test_a_server_that_cannot_start_is_an_error_not_a_wait() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no room"})

    with pytest.raises(ServeError, match="stopped before it was ready"), Background(Listener(failing)):
        pass
