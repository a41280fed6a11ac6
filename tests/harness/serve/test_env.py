"""`rlsd serve env` and its client: the same episodes over HTTP, calls that are carried out once, faults passed on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from rlsd.agents.scripted import ExpertAgent, ScriptedAgent
from rlsd.envs.checker import check_env
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError, TaskError
from rlsd.envs.key_door import KeysEnv
from rlsd.envs.registry import make
from rlsd.envs.remote.answers import AnswerTooLarge
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.serve.env import env_app, opener
from rlsd.harness.serve.guard import Limits
from rlsd.harness.serve.listener import Background, Listener
from tests.support.plain_worlds import FaultyThreaded, Plain

TOKEN = "a-token-of-some-length"


@contextmanager
def serving(open_env: Any, *, token: str | None = None, **limits: Any) -> Iterator[str]:
    bounds = Limits(**limits)
    with Background(Listener(env_app(open_env, bounds), token=token, limits=bounds)) as url:
        yield url


def test_same_episode_as_in_this_process() -> None:
    here = make("rlsd/Keys-v0", split="test")
    with serving(opener("rlsd/Keys-v0", {}, workers=0)) as url:
        there = make(url, split="test")
        assert list(there.tasks()) == list(here.tasks())
        task = here.tasks()[3].task_id
        for env in (here, there):
            env.reset(seed=1, options={"task": task})
        for _ in range(12):
            assert there.hindsight() == here.hindsight()
            action = here.expert("explorer")
            assert there.expert("explorer") == action
            assert there.step(action or "") == here.step(action or "")
        there.close()


def test_the_contract_holds_over_http() -> None:
    with serving(opener("rlsd/Keys-v0", {"rooms": 3}, workers=0)) as url:
        assert [f for f in check_env(lambda: make(url)) if not f.ok] == []


def test_the_response_format_is_known_over_http() -> None:
    with serving(opener("rlsd/WebShop-v0", {"catalogue": "gen-tiny"}, workers=0)) as url:
        env = make(url)
        assert (env.response_format, env.accepts_formats) == ("shop", ("shop", "think", "compact"))
        env.close()


def test_a_rollout_cannot_tell() -> None:
    """In this process, in workers, over HTTP: the same trajectories, hindsight included."""

    def episodes(make_env: Any) -> list[Any]:
        rollout = Rollout(make_env, ExpertAgent("explorer"), RolloutSettings(slots=3, retries=0))
        tasks = list(KeysEnv(split="test").tasks())[:3]
        groups = rollout.groups(tasks, 2, stream="test", iteration=0)
        rollout.close()
        return [t.to_json() for g in groups for t in g.trajectories]

    plain = episodes(lambda: make("rlsd/Keys-v0", split="test"))
    with serving(opener("rlsd/Keys-v0", {}, workers=2)) as url:
        assert episodes(lambda: make(url, split="test")) == plain


def test_errors_arrive_as_what_they_were() -> None:
    with serving(opener("rlsd/Keys-v0", {}, workers=0)) as url:
        with pytest.raises(EnvError, match=r"unknown split 'tset'.*'test'"):
            make(url, split="tset")
        env = make(url)
        with pytest.raises(TaskError, match="unknown task 'nowhere'"):
            env.reset(options={"task": "nowhere"})
        with pytest.raises(EnvError, match=r"takes no games: set them on the server"):
            make(url, games="/etc/passwd")  # what a client may name is the split alone
        env.close()


def test_unreachable_server_is_named() -> None:
    with serving(Plain) as url:
        pass
    with pytest.raises(EnvError, match=rf"{url}.*rlsd serve env"):
        make(url)


def test_token() -> None:
    with serving(Plain, token=TOKEN) as url:
        with pytest.raises(EnvError, match=r"answered 401.*token is needed"):
            make(url)
        env = make(url, token=TOKEN)
        assert "stand in a room" in env.reset()[0]
        env.close()


def test_a_repeated_call_is_carried_out_once() -> None:
    with serving(Plain) as url, httpx.Client(base_url=url, trust_env=False) as client:
        name = client.post("/sessions", json={}).json()["ok"]["session"]

        def call(number: int, op: str, **arguments: Any) -> httpx.Response:
            return client.post(f"/sessions/{name}", json={"number": number, "op": op, "given": arguments})

        call(0, "reset")
        first = call(1, "step", action="walk")
        assert call(1, "step", action="walk").json() == first.json()
        assert call(2, "step", action="walk").json()["ok"][0] == "step 2 done"
        assert call(1, "step", action="walk").status_code == 409
        assert client.delete(f"/sessions/{name}").status_code == 200
        gone = call(3, "step", action="walk")
        assert gone.status_code == 404
        assert "no session" in gone.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"number": "1", "op": "step"}', b'{"number": 1, "op": 3}'])
def test_malformed_calls(body: bytes) -> None:
    with serving(Plain) as url, httpx.Client(base_url=url, trust_env=False) as client:
        name = client.post("/sessions", json={}).json()["ok"]["session"]
        assert client.post(f"/sessions/{name}", content=body).status_code == 400
        assert client.post("/sessions", json={"split": 3}).status_code == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_bodies_of_forms_are_refused(kind: str) -> None:
    with serving(Plain) as url, httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/sessions", "/sessions/x"):
            reply = client.post(path, content=b"{}", headers={"content-type": kind})
            assert reply.status_code == 403
            assert reply.json() == {"error": f"Content-Type is {kind.partition(';')[0]}, expected application/json"}
        assert client.get("/health").json() == {"ok": {"sessions": 0}}
        assert client.post("/sessions", content=b"{}").status_code == 200


def test_an_answer_too_large_is_an_error_of_that_call() -> None:
    class Long(Plain):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            return "a page", 0.0, False, False, {"page": "x" * (65 << 20)}

    with serving(Long) as url:
        env = make(url)
        env.reset()
        with pytest.raises(AnswerTooLarge, match="at most 67108864"):
            env.step("walk")
        assert "stand in a room" in env.reset()[0]
        env.close()


def test_sessions_are_limited() -> None:
    with serving(Plain, max_sessions=1) as url:
        env = make(url)
        with pytest.raises(EnvError, match="status 429"):
            make(url)
        env.close()
        make(url).close()


def test_a_lost_session_is_a_failed_episode_that_is_tried_again() -> None:
    """The server gives the environment up after its own time limit; siblings go on, the episode is played anew."""
    left, release = {"t1": 1}, threading.Event()
    made: list[TextEnv] = []

    def open_env(**_: Any) -> TextEnv:
        made.append(FaultyThreaded("step 2", left, hang=release))
        return made[-1]

    with serving(open_env, request_s=0.5) as url:
        rollout = Rollout(lambda: make(url), ScriptedAgent(["walk"]), RolloutSettings(slots=2, step_timeout_s=30))
        groups = rollout.groups(Plain().tasks(), 1, stream="train", iteration=0)
        rollout.close()
        release.set()
    assert [len(g.trajectories) for g in groups] == [1, 1, 1, 1]
    assert groups[1].trajectories[0].key.attempt == 1
