"""Kept connections, limits of time and size, proxies and certificates, against a small server."""

from __future__ import annotations

import asyncio
import gc
import gzip
import shutil
import ssl
import subprocess
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.errors import EnvError
from rlsd.envs.remote.http_client import KEPT_S, Answer, HttpClient, HttpFailure
from rlsd.envs.remote.loop import BackgroundLoop
from rlsd.envs.remote.network import certificates, is_local, proxy_for
from tests.support.stub_server import Act, drips, half_closes, hangs, head, raw, resets, says, stub

OK = says(200, {"fine": True})
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


def ask(url: str, *, timeout_s: float = 20.0, **settings: Any) -> Answer:
    """One request in a loop of its own."""
    return asyncio.run(HttpClient(**settings).post(url, b"{}", timeout_s=timeout_s))


def failure(act: Act, **settings: Any) -> HttpFailure:
    with stub(act) as server, pytest.raises(HttpFailure) as told:
        ask(server.url, **settings)
    return told.value


def test_a_connection_is_kept_for_the_next_request() -> None:
    client = HttpClient(headers={"X-One": "1"})

    async def run(url: str) -> list[Answer]:
        return [await client.post(url, b"{}", timeout_s=20, **{"X-Two": str(i)}) for i in range(5)]

    with stub(OK) as server:
        answers = asyncio.run(run(server.url))
        assert [(a.status, a.text) for a in answers] == [(200, '{"fine": true}')] * 5
        assert server.connections == 1
        assert [(r.headers["x-one"], r.headers["x-two"]) for r in server.requests] == [("1", str(i)) for i in range(5)]
        asyncio.run(run(server.url))
        assert server.connections == 2, "another loop has connections of its own"


def test_no_more_at_once_than_allowed() -> None:
    at_work, most, lock = 0, 0, threading.Lock()

    def slow(connection: Any, request: Any) -> bool:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.005)
        with lock:
            at_work -= 1
        return OK(connection, request)

    async def run(url: str, client: HttpClient) -> None:
        await asyncio.gather(*(client.post(url, b"", timeout_s=20) for _ in range(20)))

    with stub(slow) as server:
        asyncio.run(run(server.url, HttpClient(most=3)))
        assert (most, server.connections) == (3, 3)


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    """Also if nothing of the loop ran between the end of the connection and the next request."""
    client = HttpClient()

    async def run(url: str, server: Any) -> None:
        await client.post(url, b"{}", timeout_s=20)
        server.hang_up()
        time.sleep(0.05)  # blocks the loop on purpose
        assert (await client.post(url, b"{}", timeout_s=20)).status == 200

    with stub(OK) as server:
        asyncio.run(run(server.url, server))
        assert server.connections == 2


def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    with stub(resets()) as server:
        with pytest.raises(HttpFailure, match="ReadError"):
            ask(server.url)
        assert (server.connections, len(server.requests)) == (1, 1)


def test_a_request_that_must_not_be_sent_twice_gets_a_new_connection() -> None:
    client = HttpClient(kept=False)

    async def run(url: str) -> None:
        for _ in range(3):
            await client.post(url, b"{}", timeout_s=20)

    with stub(OK) as server:
        asyncio.run(run(server.url))
        assert (server.connections, len(server.requests)) == (3, 3)


def test_connections_are_dropped_before_servers_drop_them() -> None:
    """uvicorn, and so vLLM, closes idle ones after 5 s."""
    assert KEPT_S == 2.0


def test_a_cancelled_request_closes_its_connection() -> None:
    gone = threading.Event()

    def waits(connection: Any, request: Any) -> bool:
        connection.settimeout(20)
        if connection.recv(1) == b"":
            gone.set()
        return False

    async def run(url: str) -> None:
        task = asyncio.create_task(HttpClient().post(url, b"{}", timeout_s=20))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 10)

    with stub(waits) as server:
        asyncio.run(run(server.url))


def test_nothing_is_left_open_when_a_loop_ends() -> None:
    with stub(OK) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(3):
            ask(server.url)
        loop = BackgroundLoop("test")
        client = HttpClient()
        assert loop.run(client.post(server.url, b"{}", timeout_s=20)).status == 200
        loop.end()
        gc.collect()
    assert [str(w.message) for w in told] == []


@pytest.mark.parametrize(
    "act, kind, words",
    [
        (resets(), "broken", "ReadError"),
        (resets(head(200, 100)), "broken", "ReadError"),
        (resets(head(200, 100) + b"x" * 50), "broken", "ReadError"),
        (raw(b"", keep=False), "broken", "ReadError"),
        (raw(head(200, 100) + b"x" * 50, keep=False), "broken", "ReadError"),
        (half_closes(head(200, 100) + b"x"), "broken", "ReadError"),
        (raw(b"HELLO\r\n\r\n", keep=False), "broken", "ReadError"),
        (raw(head(200, None, transfer_encoding="chunked") + b"zz\r\n", keep=False), "broken", "ReadError"),
        (hangs(), "slow", "no complete answer within 0.3 s"),
        (hangs(head(200, 10)), "slow", "no complete answer within 0.3 s"),
        (drips(head(200, 2) + b"{}"), "slow", "no complete answer within 0.3 s"),
        (says(200, b"x", content_encoding="br"), "encoding", "'br', which was not requested"),
        (says(200, b"no gzip", content_encoding="gzip"), "encoding", "no gzip"),
        (says(200, gzip.compress(b"x" * 999)[:-9], content_encoding="gzip"), "broken", "the gzip data ends early"),
    ],
)
def test_failures_have_a_kind(act: Act, kind: str, words: str) -> None:
    error = failure(act, timeout_s=0.3 if kind == "slow" else 20)
    assert error.kind == kind
    assert words in str(error)


def test_nobody_there_is_a_failure_to_connect() -> None:
    with stub(OK) as server:
        pass
    with pytest.raises(HttpFailure, match="ConnectError") as told:
        ask(server.url)
    assert told.value.kind == "connect"


@pytest.mark.parametrize(
    "act",
    [
        says(200, b"x" * 2000),
        raw(head(200, None, transfer_encoding="chunked") + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"),
        raw(head(200, None) + b"x" * 2000, keep=False),
        says(200, gzip.compress(b"x" * 2000), content_encoding="gzip"),
        says(200, zlib.compress(b"x" * 2000), content_encoding="deflate"),
        says(200, gzip.compress(b"x" * (64 << 20)), content_encoding="gzip"),
    ],
    ids=["length", "chunks", "until the end", "gzip", "deflate", "bomb"],
)
def test_an_answer_is_limited_in_size_after_decompression(act: Act) -> None:
    error = failure(act, max_bytes=1999)
    assert (error.kind, str(error)) == ("too_large", "the answer exceeds 1999 bytes")


@pytest.mark.parametrize("encoding, pack", [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_compressed_answers_are_unpacked(encoding: str, pack: Any) -> None:
    text = b'{"a": 1}' * 500
    with stub(says(200, pack(text), content_encoding=encoding)) as server:
        assert ask(server.url, compressed=True, max_bytes=len(text)).body == text
        assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"
        assert ask(server.url).body == text
        assert server.requests[1].headers["accept-encoding"] == "identity"


def test_redirects_are_not_followed() -> None:
    with stub(says(307, b"", location="http://127.0.0.1:9/")) as server:
        answer = ask(server.url)
    assert (answer.status, answer.headers["location"]) == (307, "http://127.0.0.1:9/")


# proxies and certificates ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "variables, url, proxy",
    [
        ({}, "http://example.org/v1", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://example.org/v1", "http://p:3128"),
        ({"HTTP_PROXY": "http://p:3128"}, "https://example.org/v1", None),
        ({"HTTPS_PROXY": "p:3128"}, "https://example.org/v1", "http://p:3128"),
        ({"ALL_PROXY": "http://p:1"}, "https://example.org/v1", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.org"}, "https://api.example.org/v1", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://example.com/v1", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://localhost:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:8000/v1", None),
        ({"ALL_PROXY": "http://p:1"}, "http://[::1]:8000/v1", None),
    ],
)
def test_proxies_are_those_of_the_variables_and_never_for_this_machine(
    no_proxies: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in variables.items():
        no_proxies.setenv(name, value)
    assert proxy_for(url) == proxy


def test_a_proxy_that_speaks_no_http_is_one_clear_error(no_proxies: pytest.MonkeyPatch) -> None:
    no_proxies.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(EnvError, match=r"is a socks5 proxy.*NO_PROXY"):
        proxy_for("https://example.org/v1")
    assert proxy_for("http://127.0.0.1:80") is None


def test_a_request_goes_through_the_proxy(no_proxies: pytest.MonkeyPatch) -> None:
    with stub(OK) as proxy:
        no_proxies.setenv("HTTP_PROXY", proxy.url)
        assert ask("http://nowhere.invalid/v1", proxies=True).status == 200
        assert proxy.requests[0].path == "http://nowhere.invalid/v1"
        with stub(OK) as here:
            ask(here.url, proxies=True)
            assert (len(here.requests), len(proxy.requests)) == (1, 1)
    with pytest.raises(HttpFailure, match="ConnectError"):
        ask("http://nowhere.invalid/v1", timeout_s=5)


@pytest.mark.parametrize(
    "host, local", [("localhost", True), ("a.localhost", True), ("127.9.9.9", True), ("[::1]", True)]
)
def test_this_machine_is_known_by_its_names(host: str, local: bool) -> None:
    assert is_local(host) is local
    assert not is_local("10.0.0.1")
    assert not is_local("localhost.example.org")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of an https server, and the file of its certificate, which nobody else trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"safe")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that do not trust it hang up
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", folder / "cert.pem"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_are_those_of_the_variables(
    secure: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url, file = secure
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HttpFailure, match=r"ConnectError.*certificate"):
        ask(url)
    monkeypatch.setenv(variable, str(file))
    assert ask(url).text == "safe"


def test_certificates_that_cannot_be_read_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(EnvError, match=r"SSL_CERT_FILE is .*missing\.pem.*does not exist"):
        certificates()
    (tmp_path / "odd.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "odd.pem"))
    with pytest.raises(EnvError, match=r"SSL_CERT_FILE is .*odd\.pem.*holds no certificates"):
        ask("https://127.0.0.1:9/")
