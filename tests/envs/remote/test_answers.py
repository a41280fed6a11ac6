"""What a server or a worker process may answer: anything, and it costs one call, one typed error and bounded memory."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest

from rlsd.agents.formats import FORMATS
from rlsd.agents.memory import FullHistory
from rlsd.agents.openai import ChatAgent
from rlsd.agents.types import EpisodeKey, History
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.errors import ServerReply
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import AnswerError, EnvError
from rlsd.envs.remote.answers import AnswerTooLarge
from rlsd.envs.remote.http import HttpEnv
from rlsd.envs.remote.http_client import HttpClient
from rlsd.envs.remote.wire import RemoteEnv, dumps, value
from rlsd.envs.remote.wire import answer as answer_of
from tests.support.plain_worlds import Plain
from tests.support.wild_server import OK, answer, answering, bomb

BOMB = bomb(200 << 20)
HISTORY = History(goal="g", observations=("o",), actions=(), admissible=None)
KEY = EpisodeKey("test", 0, 0, 0)


def opened(url: str) -> None:
    HttpEnv(url, timeout_s=30.0)


def chat(url: str) -> None:
    agent = ChatAgent(url, "m", memory=FullHistory(format=FORMATS["compact"]), max_new_tokens=8, retries=0)
    asyncio.run(agent.act(HISTORY, KEY))


def models(url: str) -> None:
    VLLMServer(url, timeout_s=30.0).models()


def complete(url: str) -> None:
    asyncio.run(VLLMServer(url, timeout_s=30.0).score(HttpClient(), "m", [1, 2]))


@pytest.mark.parametrize(
    "call, error", [(opened, AnswerTooLarge), (chat, ServerReply), (models, ServerReply), (complete, ServerReply)]
)
def test_an_answer_that_unpacks_to_gigabytes_is_refused_before_it_does(call: Any, error: type[Exception]) -> None:
    with answering(BOMB) as url:
        tracemalloc.start()
        with pytest.raises(error, match=r"exceeds 67108864 bytes"):
            call(url)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 150 << 20


@pytest.mark.parametrize("packing", ["br", "zstd", "gzip, gzip", "unheard-of"])
def test_an_answer_packed_in_another_way_is_refused(packing: str) -> None:
    reply = answer(b"whatever", f"content-encoding: {packing}")
    with answering(reply) as url, pytest.raises(EnvError, match="was not requested, tried 1 times"):
        opened(url)


@pytest.mark.parametrize(
    "reply",
    [
        answer(b""),
        answer(b'{"ok": {"session"'),
        answer(b"[" * 100_000),
        answer(b'{"ok": [1]}'),
        answer(b"\xff\xfe"),
        answer(b"not gzip", "content-encoding: gzip"),
        OK + b"content-length: 100\r\n\r\n{}",
        OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"garbage\r\n\r\n",
        b"",
    ],
)
def test_a_server_that_answers_nonsense_cannot_be_opened(reply: bytes) -> None:
    with answering(reply) as url, pytest.raises(EnvError):
        opened(url)


class Echo:
    """A transport that answers what it was told to; `about` as it should be."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        return {"max_chars": 100} if op == "about" else self.reply

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Here(Echo):
    """An environment in this process behind the protocol."""

    def __init__(self, env: TextEnv) -> None:
        self.env = env

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        return value(json.loads(dumps(answer_of(self.env, op, arguments))), "it")


def test_a_longer_limit_of_reset_reaches_the_client_and_an_older_server_has_none() -> None:
    class Making(Plain):
        reset_timeout_s = 90.0

    assert RemoteEnv(Here(Making())).reset_timeout_s == 90.0
    assert RemoteEnv(Here(Plain())).reset_timeout_s == 0.0
    assert RemoteEnv(Echo(None)).reset_timeout_s == 0.0


@pytest.mark.parametrize(
    "reply",
    [
        "x",
        None,
        7,
        [],
        ["x"],
        ["x", 0.0, False, False],
        [None, 0.0, False, False, {}],
        [7, 0.0, False, False, {}],
        ["x", None, False, False, {}],
        ["x", "1", False, False, {}],
        ["x", float("nan"), False, False, {}],
        ["x", float("-inf"), False, False, {}],
        ["x", 0.0, "no", False, {}],
        ["x", 0.0, False, None, {}],
        ["x", 0.0, False, [], {}],
        ["x", 0.0, False, False, []],
        ["x", 0.0, False, False, None],
        {"observation": "x"},
    ],
)
def test_replies_of_a_wrong_shape_are_typed_errors(reply: Any) -> None:
    env = RemoteEnv(Echo(json.loads(json.dumps(reply))))
    for call in (lambda: env.step("look"), env.reset, env.hindsight):
        with pytest.raises(AnswerError):
            call()
    if reply != []:
        with pytest.raises(EnvError, match="'tasks' gave"):
            env.tasks()


def test_replies_of_the_right_shape_pass() -> None:
    env = RemoteEnv(Echo(["x", 1, 0, True, {"a": None}]))
    assert env.step("look") == ("x", 1.0, False, True, {"a": None})
    assert RemoteEnv(Echo(["x", {}])).reset() == ("x", {})
