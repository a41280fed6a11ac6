"""What chat endpoints answer, endpoint by endpoint: parts, reasoning, refusals, waiting, the other token limit."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from rlsd.agents.chat_answers import asks_to_wait, read_choice
from rlsd.agents.formats import FORMATS
from rlsd.agents.memory import FullHistory
from rlsd.agents.openai import ChatAgent
from rlsd.agents.types import Action, ContextFull, EpisodeKey, FinishReason, History
from rlsd.agents.vllm.errors import ServerMismatch, ServerReply, ServerUnreachable
from tests.support.stub_server import Act, says, stub

KEY = EpisodeKey("test", 0, 0, 0)
START = History(goal="g", observations=("You stand in a room.",), actions=())


def completion(message: Any, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop", **choice}]}


GOOD = says(200, completion({"content": "<action>go left</action>"}))


class Pauses:
    """Takes no time, and notes how long it should have taken."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def act(url: str, turns: int = 1, **settings: Any) -> list[Action]:
    agent = ChatAgent(url, "m", memory=FullHistory(format=FORMATS["think"]), max_new_tokens=9, **settings)

    async def run() -> list[Action]:
        return [await agent.act(START, KEY) for _ in range(turns)]

    return asyncio.run(run())


@pytest.mark.parametrize(
    "message, choice, text, finish",
    [
        ({"content": "go"}, {}, "go", FinishReason.EOS),
        ({"content": "go"}, {"finish_reason": "length"}, "go", FinishReason.LENGTH),
        ({"content": "go"}, {"finish_reason": None}, "go", FinishReason.EOS),
        ({"content": "go", "reasoning_content": "hm", "reasoning": "hm"}, {}, "go", FinishReason.EOS),
        ({"content": "go", "tool_calls": []}, {}, "go", FinishReason.EOS),
        ({"content": None, "reasoning": "hm"}, {"finish_reason": "length"}, "", FinishReason.LENGTH),
        ({"reasoning_content": "hm"}, {"finish_reason": "length"}, "", FinishReason.LENGTH),
        ({"content": None, "refusal": "I will not."}, {}, "I will not.", FinishReason.EOS),
        ({"content": [{"type": "text", "text": "go "}, {"type": "text", "text": "left"}]}, {}, "go left", "eos"),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "go"}]}, {}, "go", "eos"),
        ({"content": []}, {}, "", FinishReason.EOS),
    ],
)
def test_the_text_of_a_completion(message: Any, choice: Any, text: str, finish: str) -> None:
    assert read_choice(completion(message, **choice)) == (text, finish)


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {"error": {"message": "overloaded"}},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{}]},
        completion(None),
        completion({}),
        completion({"content": 3}),
        completion({"content": {"text": "go"}}),
        completion({"content": ["go"]}),
        completion({"content": [{"type": "text", "text": 3}]}),
        completion({"content": None, "tool_calls": [{"function": {"name": "go"}}]}),
        completion({"content": ""}, finish_reason="error"),
        completion({"content": ""}, error={"code": 502}),
    ],
)
def test_what_is_no_completion_is_never_an_empty_action(reply: Any) -> None:
    with stub(says(200, reply)) as server, pytest.raises(ServerReply, match="gave no chat completion"):
        act(server.url)
    assert len(server.requests) == 1, "and it is not asked for again"


@pytest.mark.parametrize(
    "told, seconds",
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (format_datetime(datetime(2030, 1, 1, 0, 0, 30, tzinfo=UTC), usegmt=True), 30.0),
        (format_datetime(datetime(2029, 1, 1, tzinfo=UTC), usegmt=True), 0.0),
        ("Tue, 01 Jan 2030 00:00:05 -0000", 5.0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("inf", None),
        ("9" * 30, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(told: str, seconds: float | None) -> None:
    assert asks_to_wait({"Retry-After": told}, now=datetime(2030, 1, 1, tzinfo=UTC)) == seconds
    assert asks_to_wait({}) is None


@pytest.mark.parametrize("status", [429, 503])
def test_an_endpoint_that_asks_to_wait_is_waited_for(status: int) -> None:
    pauses = Pauses()
    acts = [says(status, b"", retry_after="7"), says(status), says(status, b"", retry_after="0.1"), GOOD]
    with stub(*acts) as server:
        assert act(server.url, pause=pauses)[0].text == "go left"
    assert pauses.seconds == [7.0, 1.0, 2.0], "its wait, or our own pause if that is longer"


def test_a_date_is_waited_for_too() -> None:
    pauses = Pauses()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    with stub(says(429, b"", retry_after=date), GOOD) as server:
        act(server.url, pause=pauses)
    assert 90 < pauses.seconds[0] <= 100


def test_an_endpoint_that_asks_for_an_hour_is_not_waited_for() -> None:
    pauses = Pauses()
    told = r"status 429, which asks to wait 3600 s, tried 1 times"
    with stub(says(429, b"", retry_after="3600")) as server, pytest.raises(ServerUnreachable, match=told):
        act(server.url, pause=pauses)
    assert pauses.seconds == []


def test_an_endpoint_that_wants_max_completion_tokens_gets_it_from_then_on() -> None:
    reason = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    with stub(says(400, {"error": {"message": reason}}), GOOD) as server:
        assert [a.text for a in act(server.url, turns=2, retries=0)] == ["go left"] * 2
    limits = [{k: v for k, v in r.json.items() if k.startswith("max_")} for r in server.requests]
    assert limits == [{"max_tokens": 9}, {"max_completion_tokens": 9}, {"max_completion_tokens": 9}]


def test_an_endpoint_that_refuses_both_limits_is_not_asked_for_ever() -> None:
    refusal = says(400, {"error": "neither max_tokens nor max_completion_tokens"})
    with stub(refusal) as server, pytest.raises(ServerReply, match="answered 400"):
        act(server.url)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "status, reason",
    [
        (400, {"error": {"code": "context_length_exceeded", "message": "too long"}}),
        (400, {"error": {"message": "This model's maximum context length is 8192 tokens. However, …"}}),
        (400, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
        (413, {"message": "the request exceeds the available context size"}),
        (422, {"error": "Input has too many tokens"}),
    ],
)
def test_messages_too_long_for_the_model_are_a_full_context(status: int, reason: Any) -> None:
    with stub(says(status, reason)) as server, pytest.raises(ContextFull, match=f"answered {status}"):
        act(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer, words",
    [
        (says(400, {"error": "temperature must be 1"}), r"answered 400: .*temperature must be 1"),
        (says(403, b"moderation"), r"answered 403: moderation"),
        (says(307, b"", location="https://elsewhere/v1"), r"answered 307: redirects to 'https://elsewhere/v1'"),
        (says(204, b""), r"answered 204"),
        (says(200, b"\xff\xfe\x00{}"), r"gave no JSON"),
        (says(200, b"[" * 200_000), r"gave no JSON"),
        (says(200, b"data: {}\n\n", content_type="text/event-stream"), r"gave no JSON: 'data: "),
        (says(200, gzip.compress(b" " * (65 << 20)), content_encoding="gzip"), r"the answer exceeds 67108864 bytes"),
        (says(200, b"x", content_encoding="zstd"), r"encoding 'zstd', which was not requested"),
    ],
)
def test_refusals_and_odd_answers_are_typed_and_not_asked_again(answer: Act, words: str) -> None:
    with stub(answer) as server, pytest.raises(ServerReply, match=words):
        act(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status, for_all", [(400, False), (401, True), (403, False), (404, True)])
def test_a_wrong_key_or_model_is_known_to_concern_every_request(status: int, for_all: bool) -> None:
    with stub(says(status)) as server, pytest.raises(ServerReply) as told:
        act(server.url)
    assert told.value.for_all is for_all


def test_requests_share_one_connection_and_a_key_may_end_in_a_new_line() -> None:
    with stub(GOOD) as server:
        act(server.url, turns=5, api_key="secret\n")
        assert server.connections == 1
        assert server.requests[0].headers["authorization"] == "Bearer secret"
        assert json.loads(server.requests[0].body)["model"] == "m"


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_told_at_once(url: str) -> None:
    with pytest.raises(ServerMismatch, match="is not the address of an endpoint; expected http://host:port"):
        act(url)
