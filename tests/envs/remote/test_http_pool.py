"""Many requests at once over connections of their own, against a small server in the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from rlsd.envs.remote.http_pool import Lanes


@dataclass
class Seen:
    url: str = ""
    connections: int = 0
    open: int = 0
    at_work: int = 0
    most_at_work: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def serving() -> AsyncIterator[Seen]:
    """Answers each path with itself; /wait only once `go` is set."""
    seen = Seen()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        seen.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1]
                seen.at_work += 1
                seen.most_at_work = max(seen.most_at_work, seen.at_work)
                await (seen.go.wait() if path == b"/wait" else asyncio.sleep(0.001))
                seen.at_work -= 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(path), path))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            seen.open -= 1
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    seen.url = f"http://{host}:{port}"
    yield seen
    seen.go.set()
    server.close()
    await server.wait_closed()


async def ask(client: httpx.AsyncClient, paths: list[str]) -> list[str]:
    return [reply.text for reply in await asyncio.gather(*(client.get(path) for path in paths))]


async def until_closed(seen: Seen) -> None:
    async with asyncio.timeout(10):
        while seen.open:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("keep", [True, False])
def test_every_request_gets_its_own_answer_and_connections_are_kept_if_wanted(keep: bool) -> None:
    async def run() -> None:
        async with serving() as seen:
            paths = [f"/{i}" for i in range(40)]
            async with httpx.AsyncClient(base_url=seen.url, transport=Lanes(keep=keep), trust_env=False) as client:
                for waves in range(1, 4):
                    assert await ask(client, paths) == paths
                    assert seen.connections == (40 if keep else 40 * waves)
                assert await ask(client, ["/one"]) == ["/one"]
            await until_closed(seen)

    asyncio.run(run())


def test_no_more_at_once_than_allowed() -> None:
    async def run() -> None:
        async with serving() as seen:
            async with httpx.AsyncClient(base_url=seen.url, transport=Lanes(most=3), trust_env=False) as client:
                assert len(await ask(client, ["/a"] * 20)) == 20
                assert (seen.most_at_work, seen.connections) == (3, 3)
            await until_closed(seen)

    asyncio.run(run())


def test_a_request_that_is_cancelled_or_fails_gives_its_place_back() -> None:
    async def run() -> None:
        async with serving() as seen:
            async with httpx.AsyncClient(base_url=seen.url, transport=Lanes(most=1), trust_env=False) as client:
                for _ in range(3):
                    hanging = asyncio.create_task(client.get("/wait"))
                    while not seen.at_work:
                        await asyncio.sleep(0.001)
                    hanging.cancel()
                    assert isinstance(
                        (await asyncio.gather(hanging, return_exceptions=True))[0], asyncio.CancelledError
                    )
                    seen.go.set()
                    while seen.at_work:
                        await asyncio.sleep(0.001)
                    seen.go.clear()
                with pytest.raises(httpx.ConnectError):
                    await client.get("http://127.0.0.1:9")
                async with client.stream("GET", "/left unread"):
                    pass
                assert await ask(client, ["/next"]) == ["/next"]
            await until_closed(seen)

    asyncio.run(run())


def test_trusted_certificates_that_cannot_be_read_take_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))

    async def run() -> None:
        async with serving() as seen, asyncio.timeout(10):
            async with httpx.AsyncClient(base_url=seen.url, transport=Lanes(most=1), trust_env=False) as client:
                for _ in range(2):
                    with pytest.raises(FileNotFoundError):
                        await client.get(seen.url.replace("http:", "https:"))
                assert await ask(client, ["/next"]) == ["/next"]
            await until_closed(seen)

    asyncio.run(run())
