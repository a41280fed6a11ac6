"""Faults of servers that agents are played through, each in a fraction of a second.

A fault hits the first request of one episode, or all of its requests; two other episodes are played beside it. It is
"survived" if every answer is that of a faultless server, "counted" if that one episode ends with a typed error and the
others are as without it, and "silent" if anything else comes out: a wrong answer taken for a good one, an error without
a type, an episode beside it that is harmed.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.agents.formats import FORMATS
from rlsd.agents.memory import FullHistory
from rlsd.agents.openai import ChatAgent
from rlsd.agents.types import ContextFull, EpisodeKey, History, SampleRequest
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.errors import ServerReply, ServerUnreachable
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.agents.vllm.source import Alone, Peers
from tests.support.stub_server import Act, Request, drips, half_closes, hangs, head, raw, resets, says, stub

TYPED = (ServerReply, ServerUnreachable, ContextFull)
"""Errors that end one episode."""
TIMEOUT_S = 0.3
SURVIVED, COUNTED, SILENT = "survived", "counted", "silent"


@dataclass(frozen=True)
class Fault:
    """One fault; `run` needs a folder to write into and returns "survived", "counted" or "silent"."""

    name: str
    kind: str
    """"chat" or "vllm"."""
    run: Callable[[Path], str]


# what a good server says ----------------------------------------------------------------------------------------------

CHAT = {"choices": [{"message": {"content": "<action>go left</action>"}, "finish_reason": "stop"}]}
CHOICE = {"token_ids": [7, 2], "logprobs": {"token_logprobs": [-0.5, -0.25]}, "finish_reason": "stop"}
VLLM = {"model": "m", "choices": [CHOICE]}
GOOD = {"chat": CHAT, "vllm": VLLM}


def shared(good: dict[str, Any]) -> dict[str, tuple[Act, str]]:
    """Faults of any server: name → act, and what becomes of an episode whose first request it hits."""
    data = json.dumps(good).encode()
    half = data[: len(data) // 2]
    chunked = head(200, None, transfer_encoding="chunked")
    return {
        "429": (says(429), SURVIVED),
        "429 with Retry-After in seconds": (says(429, b"", retry_after="0"), SURVIVED),
        "429 with Retry-After as a date": (says(429, b"", retry_after="Tue, 01 Jan 2019 00:00:00 GMT"), SURVIVED),
        "429 with an odd Retry-After": (says(429, b"", retry_after="soon"), SURVIVED),
        "408": (says(408), SURVIVED),
        "500": (says(500, {"error": "oops"}), SURVIVED),
        "502": (says(502, b"<html>"), SURVIVED),
        "503": (says(503), SURVIVED),
        "504": (says(504), SURVIVED),
        "500 without a body, closed": (raw(head(500, 0), keep=False), SURVIVED),
        "time-out before the answer": (hangs(), SURVIVED),
        "time-out in the head": (hangs(b"HTTP/1.1 200 OK\r\ncontent-"), SURVIVED),
        "time-out in the body": (hangs(head(200, len(data)) + half), SURVIVED),
        "slow drip of the head": (drips(head(200, len(data)) + data), SURVIVED),
        "reset before the answer": (resets(), SURVIVED),
        "reset in the head": (resets(b"HTTP/1.1 200 OK\r\ncontent-"), SURVIVED),
        "reset in the body": (resets(head(200, len(data)) + half), SURVIVED),
        "closed before the answer": (raw(b"", keep=False), SURVIVED),
        "closed in the head": (raw(b"HTTP/1.1 200 OK\r\ncontent-", keep=False), SURVIVED),
        "closed in the body": (raw(head(200, len(data)) + half, keep=False), SURVIVED),
        "half-closed before the answer": (half_closes(), SURVIVED),
        "half-closed in the body": (half_closes(head(200, len(data)) + half), SURVIVED),
        "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", keep=False), SURVIVED),
        "broken chunk": (raw(chunked + b"zz\r\nxx", keep=False), SURVIVED),
        "chunks that end early": (raw(chunked + b"5\r\n" + half[:5] + b"\r\n", keep=False), SURVIVED),
        "two lengths": (raw(head(200, 5)[:-2] + b"content-length: 9\r\n\r\n" + data, keep=False), SURVIVED),
        "endless header": (raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, keep=False), SURVIVED),
        "gzip that ends early": (says(200, gzip.compress(data)[:-9], content_encoding="gzip"), SURVIVED),
        "gzip": (says(200, gzip.compress(data), content_encoding="gzip"), SURVIVED),
        "wrong content type": (says(200, data, content_type="text/plain"), SURVIVED),
        "closed after the answer": (raw(head(200, len(data)) + data, keep=False), SURVIVED),
        "no length, closed at the end": (raw(head(200, None) + data, keep=False), SURVIVED),
    }


def unusable(good: dict[str, Any]) -> dict[str, Act]:
    """Whole answers that are not what was asked for."""
    data = json.dumps(good).encode()
    return {
        "400": says(400, {"error": {"message": "no such content"}}),
        "403": says(403, b"moderated"),
        "418": says(418, b"teapot"),
        "redirect": says(307, b"", location="http://127.0.0.1:9/v1"),
        "204": says(204),
        "empty body": says(200),
        "truncated JSON": says(200, data[: len(data) // 2]),
        "HTML": says(200, b"<html>sign in</html>", content_type="text/html"),
        "event stream": says(200, b"data: " + data + b"\n\n", content_type="text/event-stream"),
        "bad UTF-8": says(200, data.replace(b"stop", b"\xff\xfe\xfd")),
        "deep JSON": says(200, b"[" * 200_000),
        "JSON null": says(200, b"null"),
        "JSON list": says(200, []),
        "wrong schema": says(200, {"result": "go left"}),
        "error with 200": says(200, {"error": {"message": "overloaded"}}),
        "empty choices": says(200, {**good, "choices": []}),
        "null choices": says(200, {**good, "choices": None}),
        "null choice": says(200, {**good, "choices": [None]}),
        "gzip bomb": says(200, gzip.compress(b" " * (80 << 20), 1), content_encoding="gzip"),
        "huge body": raw(head(200, 1 << 40), keep=False),
        "no gzip": says(200, data, content_encoding="gzip"),
        "unknown encoding": says(200, data, content_encoding="zstd"),
    }


def chat_only() -> dict[str, tuple[Act, str]]:
    def message(content: Any, **more: Any) -> Act:
        return says(200, {"choices": [{"message": content, "finish_reason": "stop", **more}]})

    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "<action>go left</action>"}]
    text = CHAT["choices"][0]["message"]["content"]  # type: ignore[index]
    return {
        "parts": (message({"content": parts}), SURVIVED),
        "reasoning": (message({"content": text, "reasoning_content": "hm"}), SURVIVED),
        "wants max_completion_tokens": (says(400, b"use max_completion_tokens"), SURVIVED),
        "context is full": (says(400, b"maximum context length is 8 tokens"), COUNTED),
        "waits for an hour": (says(429, b"", retry_after="3600"), COUNTED),
        "no content": (message({}), COUNTED),
        "content is a number": (message({"content": 3}), COUNTED),
        "odd parts": (message({"content": [{"type": "text", "text": None}]}), COUNTED),
        "tool calls": (message({"content": None, "tool_calls": [{"function": {}}]}), COUNTED),
        "error choice": (message({"content": ""}, error={"code": 502}), COUNTED),
        "finish reason is an error": (message({"content": ""}, finish_reason="error"), COUNTED),
    }


def vllm_only() -> dict[str, tuple[Act, str]]:
    def choice(**change: Any) -> tuple[Act, str]:
        return says(200, {"model": "m", "choices": [{**CHOICE, **change}]}), SURVIVED  # asked again, as always

    return {
        "another model": (says(200, {**VLLM, "model": "other"}), SURVIVED),
        "no ids": choice(token_ids=None),
        "empty ids": choice(token_ids=[]),
        "ids are texts": choice(token_ids=["7", "2"]),
        "ids are fractions": choice(token_ids=[7.5, 2]),
        "negative ids": choice(token_ids=[-7, 2]),
        "no log-probs": choice(logprobs=None),
        "too few log-probs": choice(logprobs={"token_logprobs": [-0.5]}),
        "null log-prob": choice(logprobs={"token_logprobs": [None, -0.5]}),
        "log-prob is no number": (raw(_nan()), SURVIVED),
        "positive log-prob": choice(logprobs={"token_logprobs": [3.0, -0.5]}),
        "too many ids": choice(token_ids=[7] * 9, logprobs={"token_logprobs": [-0.5] * 9}, finish_reason="length"),
        "aborted": choice(finish_reason="abort"),
        "stopped without an end": choice(token_ids=[7, 7]),
        "another route's answer": (says(200, {"data": [{"id": "m"}]}), SURVIVED),
    }


def _nan() -> bytes:
    data = json.dumps(VLLM).replace("-0.5", "NaN").encode()
    return head(200, len(data)) + data


# playing --------------------------------------------------------------------------------------------------------------


def hitting(act: Act, good: dict[str, Any], *, always: bool) -> Act:
    """`act` for the first request (or all) that carries the number 1001, else what a good server says."""
    left = [10**9 if always else 1]

    def serve(connection: socket.socket, request: Request) -> bool:
        if request.method == "POST" and b"1001" in request.body and left[0] > 0:
            left[0] -= 1
            return act(connection, request)
        return says(200, good if request.method == "POST" else {})(connection, request)

    return serve


async def chat(url: str) -> list[Callable[[], Awaitable[Any]]]:
    async def at_once(seconds: float) -> None:
        """No pause."""

    agent = ChatAgent(
        url,
        "m",
        memory=FullHistory(format=FORMATS["think"]),
        max_new_tokens=8,
        retries=1,
        timeout_s=TIMEOUT_S,
        pause=at_once,
    )

    def ask(number: int) -> Callable[[], Awaitable[Any]]:
        history = History(goal="g", observations=(f"room {number}",), actions=())
        return lambda: agent.act(history, EpisodeKey("test", 0, 0, 0))

    return [ask(number) for number in (1000, 1001, 1002)]


class Fixed:
    """A server whose weights nobody changes."""

    version = 0
    peers: Peers = Alone()

    def __init__(self, url: str) -> None:
        self.servers = (VLLMServer(url, timeout_s=TIMEOUT_S, quick_s=5.0),)

    def model(self, server: VLLMServer) -> str:
        return "m"

    def loaded_version(self, server: VLLMServer) -> int:
        return 0

    def connect(self, server: VLLMServer) -> None: ...

    def push(self, version: int) -> None: ...

    def ensure(self, server: VLLMServer) -> None: ...

    def close(self) -> None: ...


async def vllm(url: str) -> list[Callable[[], Awaitable[Any]]]:
    sampler = VLLMSampler(Fixed(url), eos_ids=frozenset({2}), context=64, retries=1, reconnect_s=5.0)

    def ask(number: int) -> Callable[[], Awaitable[Any]]:
        request = SampleRequest(
            key=EpisodeKey("test", 0, 0, number), turn=0, prompt_ids=(number,) * 3, max_new_tokens=8
        )
        return lambda: sampler.sample(request)

    return [ask(number) for number in (1000, 1001, 1002)]


CLIENTS = {"chat": chat, "vllm": vllm}


async def played(kind: str, url: str) -> list[Any]:
    """What becomes of three episodes: an answer, or an error."""
    asks = await CLIENTS[kind](url)
    return await asyncio.gather(*(ask() for ask in asks), return_exceptions=True)


def outcome(kind: str, act: Act, *, always: bool) -> str:
    good = GOOD[kind]
    with stub(says(200, good)) as server:
        clean = asyncio.run(played(kind, server.url))
    with stub(hitting(act, good, always=always)) as server:
        try:
            found = asyncio.run(asyncio.wait_for(played(kind, server.url), 60))
        except TimeoutError:
            return SILENT
    if found == clean:
        return SURVIVED
    if isinstance(found[1], TYPED) and [found[0], found[2]] == [clean[0], clean[2]]:
        return COUNTED
    return SILENT


# the table ------------------------------------------------------------------------------------------------------------


def _made() -> tuple[list[Fault], dict[tuple[str, str], str]]:
    faults: list[Fault] = []
    expected: dict[tuple[str, str], str] = {}
    for kind, good in GOOD.items():
        own = chat_only() if kind == "chat" else vllm_only()
        wrong = {name: (act, COUNTED if kind == "chat" else SURVIVED) for name, act in unusable(good).items()}
        for name, (act, becomes) in {**shared(good), **wrong, **own}.items():
            faults.append(Fault(name, kind, lambda _, act=act, kind=kind: outcome(kind, act, always=False)))
            expected[kind, name] = becomes
    return faults, expected


FAULTS, EXPECTED = _made()
"""Each hits the first request of one episode."""
ALWAYS = [
    Fault(f"always {name}", kind, lambda _, act=act, kind=kind: outcome(kind, act, always=True))
    for kind, good in GOOD.items()
    for name, act in {
        **{n: a for n, (a, _) in shared(good).items() if n not in ("gzip", "wrong content type")},
        **unusable(good),
    }.items()
    if name not in ("closed after the answer", "no length, closed at the end")
]
"""Each hits every request of one episode, which must be lost."""
