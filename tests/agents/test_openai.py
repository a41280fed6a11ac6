"""The chat-completions agent against a small endpoint."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rlsd.agents.formats import FORMATS
from rlsd.agents.memory import FullHistory
from rlsd.agents.openai import ChatAgent
from rlsd.agents.types import Action, EpisodeKey, FinishReason, History
from rlsd.agents.vllm.errors import ServerReply, ServerUnreachable

KEY = EpisodeKey("test", 0, 0, 0)
GOOD = {"choices": [{"message": {"content": "<think>hm</think><action>go left</action>"}, "finish_reason": "stop"}]}
LOST = History(goal="g", observations=("You stand in a room.", "A wall."), actions=(Action(text="x", response="y"),))


class Endpoint:
    """Answers with what `replies` holds, in order; the last one again and again."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, bytes]] = [(200, json.dumps(GOOD).encode())]
        self.seen: list[tuple[str, dict[str, Any], str | None]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.seen.append((self.path, body, self.headers.get("Authorization")))
                status, data = endpoint.replies.pop(0) if len(endpoint.replies) > 1 else endpoint.replies[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()
    endpoint.thread.join()


def agent(url: str, **arguments: Any) -> ChatAgent:
    return ChatAgent(url, "some-model", memory=FullHistory(format=FORMATS["think"]), max_new_tokens=9, **arguments)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/chat/completions"])
def test_asks_and_parses(endpoint: Endpoint, tail: str) -> None:
    action = asyncio.run(agent(endpoint.url + tail, api_key="secret").act(LOST, KEY))
    assert (action.text, action.valid, action.finish, action.token_ids) == ("go left", True, FinishReason.EOS, ())
    ((path, body, key),) = endpoint.seen
    assert path == "/v1/chat/completions"
    assert key == "Bearer secret"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("some-model", 9, 0.0)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]


def test_a_system_message_goes_first(endpoint: Endpoint) -> None:
    asyncio.run(agent(endpoint.url, system="Be brief.").act(LOST, KEY))
    ((_, body, _),) = endpoint.seen
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]


def test_half_a_surrogate_pair_in_a_reply_becomes_the_replacement_character(endpoint: Endpoint) -> None:
    """JSON can spell one; the next request, which holds the reply, could not."""
    content = "<think>hm</think><action>go \ud83d</action>"
    endpoint.replies = [(200, json.dumps({"choices": [{"message": {"content": content}}]}).encode())]
    action = asyncio.run(agent(endpoint.url).act(LOST, KEY))
    assert (action.text, action.valid) == ("go \ufffd", True)
    later = History(goal="g", observations=(*LOST.observations, "A door."), actions=(*LOST.actions, action))
    asyncio.run(agent(endpoint.url).act(later, KEY))
    assert endpoint.seen[1][1]["messages"][3]["content"] == action.response


def test_bad_answers(endpoint: Endpoint) -> None:
    good = endpoint.replies[0]
    endpoint.replies = [(503, b"busy"), good]
    assert asyncio.run(agent(endpoint.url).act(LOST, KEY)).text == "go left"
    for reply, error, told in (
        ((500, b"oh"), ServerUnreachable, r"status 500, tried 1 times"),
        ((401, b"who are you"), ServerReply, r"answered 401: who are you"),
        ((200, b"<html>"), ServerReply, r"gave no JSON"),
        ((200, b'{"choices": []}'), ServerReply, r"no chat completion"),
    ):
        endpoint.replies = [reply]
        with pytest.raises(error, match=told):
            asyncio.run(agent(endpoint.url, retries=0).act(LOST, KEY))
