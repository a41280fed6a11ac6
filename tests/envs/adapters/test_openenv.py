"""OpenEnv both ways: a server of OpenEnv's as an environment of rlsd, and rlsd's environments for OpenEnv's clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from rlsd.agents import event_loop
from rlsd.envs import EnvError, make
from rlsd.envs.checker import check_env
from rlsd.envs.core import TextEnv
from rlsd.envs.opened_checks import Opener
from rlsd.harness.serve.env import opener
from rlsd.harness.serve.guard import Limits
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.openenv import openenv_app

TOKEN = "a-secret-of-some-length"


def serve(env_id: str, limits: Limits | None = None, **more: Any) -> Background:
    limits = limits or Limits()
    app = openenv_app(opener(env_id, {}, workers=0), limits, name=env_id)
    return Background(Listener(app, limits=limits, sockets=True, **more))


@pytest.fixture(scope="module")
def keys() -> Iterator[str]:
    with serve("rlsd/Keys-v0") as url:
        yield url


def talk(url: str, *messages: Any, **headers: str) -> list[Any]:
    """The answers to messages of one session."""

    async def all_of_them() -> list[Any]:
        address = url.replace("http", "ws", 1) + "/ws"
        async with aiohttp.ClientSession(headers=headers) as session, session.ws_connect(address) as socket:
            answers = []
            for message in messages:
                await socket.send_str(message if isinstance(message, str) else json.dumps(message))
                answers.append(await socket.receive_json(timeout=20))
            return answers

    return event_loop.run(all_of_them())


def reset(**data: Any) -> dict[str, Any]:
    return {"type": "reset", "data": data}


def step(action: Any) -> dict[str, Any]:
    return {"type": "step", "data": {"action": action}}


def test_an_episode_goes_over_the_wire_as_it_is_played_here(keys: str) -> None:
    env = make("rlsd/Keys-v0", split="test")
    task = env.tasks()[0].task_id
    observation, info = env.reset(options={"task": task})
    first, state, last = talk(keys, reset(task=task, split="test"), {"type": "state"}, step(env.hindsight().plan[0]))
    assert first["data"] == {
        "observation": {"text": observation, **info, "truncated": False},
        "reward": None,
        "done": False,
    }
    assert state["data"]["hindsight"] == env.hindsight().to_json()
    assert (state["data"]["task_id"], state["data"]["step_count"]) == (task, 0)
    observation, reward, *_, info = env.step(env.hindsight().plan[0])
    assert last["data"] == {
        "observation": {"text": observation, **info, "truncated": False},
        "reward": reward,
        "done": False,
    }


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("{", "INVALID_JSON", "a message is JSON"),
        ("[1]", "VALIDATION_ERROR", "a message is"),
        ({"type": "jump"}, "UNKNOWN_TYPE", "unknown message type 'jump'"),
        (step("look"), "SESSION_ERROR", "send a reset first"),
        (reset(seed="one"), "VALIDATION_ERROR", "reset takes seed"),
        (reset(task="keys5/train/9-9-9"), "EXECUTION_ERROR", "Did you mean 'keys5/train/"),
        (reset(split="tests"), "EXECUTION_ERROR", "Did you mean 'test'?"),
        (step(7), "VALIDATION_ERROR", "a step is"),
    ],
)
def test_a_message_that_makes_no_sense_is_answered_and_the_session_goes_on(
    keys: str, message: Any, code: str, words: str
) -> None:
    wrong, right = talk(keys, message, reset(seed=1))
    assert wrong["type"] == "error"
    assert wrong["data"]["code"] == code
    assert words in wrong["data"]["message"]
    assert right["type"] == "observation"


def test_sessions_are_limited(keys: str) -> None:
    with serve("rlsd/Keys-v0", Limits(max_sessions=1)) as url:
        env = make("rlsd/OpenEnv-v0", url=url)
        env.reset()
        with pytest.raises(aiohttp.WSMessageTypeError):
            talk(url, reset(), reset())
        env.close()


def test_a_token_and_the_host_guard_the_socket_too() -> None:
    with serve("rlsd/Keys-v0", token=TOKEN) as url:
        with pytest.raises(EnvError, match="refused"):
            make("rlsd/OpenEnv-v0", url=url)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            talk(url, reset())
        env = make("rlsd/OpenEnv-v0", url=url, token=TOKEN)
        assert env.reset()[0].startswith("You want to find the key")
        env.close()


def test_a_page_of_another_site_opens_no_session(keys: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        talk(keys, reset(), Origin="http://elsewhere.example")
    assert caught.value.status == 403


def test_rlsds_client_and_server_pass_the_checks(keys: str) -> None:
    findings = check_env(Opener(open=lambda: make("rlsd/OpenEnv-v0", url=keys, max_steps=60)))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


def test_an_episode_that_the_server_cuts_is_truncated_here(keys: str) -> None:
    env = make("rlsd/OpenEnv-v0", url=keys, max_steps=60)
    env.reset(seed=0)
    ends = [env.step("look")[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]
    env.close()


def test_hindsight_comes_from_the_state_and_leads_to_the_goal(keys: str) -> None:
    env = make("rlsd/OpenEnv-v0", url=keys, split="test")
    for task in env.tasks()[:3]:
        _, info = env.reset(options={"task": task.task_id})
        distance = env.hindsight().distance
        assert distance == len(env.hindsight().plan)
        steps, ended = 0, False
        while not ended:
            _, _, ended, _, info = env.step(env.expert("oracle") or "")
            steps += 1
        assert (info["success"], steps, env.hindsight().distance) == (True, distance, 0.0)
    env.close()


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, "expected the address of an OpenEnv server"),
        ({"url": "127.0.0.1:8000"}, "expected the address of an OpenEnv server"),
        ({"url": "http://127.0.0.1:1"}, "is an OpenEnv server there?"),
        ({"url": "KEYS", "split": "tests"}, "Did you mean 'test'?"),
        ({"url": "KEYS", "tasks": 0}, "tasks must be a whole number from 1 to 100000, got 0"),
        ({"url": "KEYS", "action": "chat"}, "action='chat': expected fields with values"),
    ],
)
def test_wrong_arguments_are_one_clear_line(keys: str, kwargs: dict[str, Any], words: str) -> None:
    if kwargs.get("url") == "KEYS":
        kwargs = {**kwargs, "url": keys}
    with pytest.raises(EnvError) as caught:
        make("rlsd/OpenEnv-v0", **kwargs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_field_that_is_not_there_names_those_that_are(keys: str) -> None:
    env = make("rlsd/OpenEnv-v0", url=keys, text_field="picture")
    with pytest.raises(EnvError, match="observations have admissible_actions, feedback, goal"):
        env.reset()
    env.close()


def test_openenvs_own_client_plays_an_environment_of_rlsd(keys: str) -> None:
    openenv = pytest.importorskip("openenv.core.generic_client", reason="needs openenv-core")
    env = make("rlsd/Keys-v0", split="test")
    with openenv.GenericEnvClient(base_url=keys).sync() as client:
        for task in env.tasks()[:3]:
            result = client.reset(split="test", task=task.task_id)
            assert result.observation["text"] == env.reset(options={"task": task.task_id})[0]
            total = 0.0
            while not result.done:
                plan = client.state()["hindsight"]["plan"]
                assert plan == list(env.hindsight().plan)
                result = client.step({"action": plan[0]})
                observation, reward, *_ = env.step(plan[0])
                assert (result.observation["text"], result.reward) == (observation, reward)
                total += result.reward
            assert result.observation["success"] is True
            assert total == pytest.approx(env.optimal_return())


def _echo_server() -> Any:
    """A server of OpenEnv's own, whose game is to say a number."""
    http_server = pytest.importorskip("openenv.core.env_server.http_server", reason="needs openenv-core")
    types = pytest.importorskip("openenv.core.env_server.types")
    interfaces = pytest.importorskip("openenv.core.env_server.interfaces")

    class Say(types.Action):
        message: str

    class Heard(types.Observation):
        prompt: str
        tries: int

    class Numbers(interfaces.Environment):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Any:
            self.wanted, self.tries = (seed or 0) % 5, 0
            return Heard(prompt=f"Say {self.wanted}.", tries=0, done=False, reward=None)

        def step(self, action: Any, timeout_s: float | None = None, **_: Any) -> Any:
            self.tries += 1
            won = action.message == str(self.wanted)
            text = "Right." if won else "Wrong."
            return Heard(prompt=text, tries=self.tries, done=won or self.tries == 3, reward=float(won))

        @property
        def state(self) -> Any:
            return types.State(step_count=self.tries)

    return http_server.create_fastapi_app(Numbers, Say, Heard, max_concurrent_envs=8)


def test_a_server_of_openenvs_own_is_an_environment_of_rlsd() -> None:
    app = _echo_server()
    with Background(Listener(app, sockets=True)) as url:
        env = make("rlsd/OpenEnv-v0", url=url, split="test", goal="say the number.")
        task = env.tasks()[3]
        observation, info = env.reset(options={"task": task.task_id})
        assert (observation, info["goal"], info["admissible_actions"]) == ("Say 3.", "say the number.", None)
        assert env.step("2")[:4] == ("Wrong.", 0.0, False, False)
        observation, reward, ended, truncated, info = env.step("3")
        assert (observation, reward, ended, truncated) == ("Right.", 1.0, True, False)
        assert (info["success"], info["score"]) == (True, 1.0)
        assert env.hindsight().to_json() == {}
        env.close()
        findings = check_env(Opener(open=lambda: make("rlsd/OpenEnv-v0", url=url)))
        assert [f.name for f in findings if not f.ok] == ["unknown_action"]


def test_an_environment_is_closed_with_its_session(keys: str) -> None:
    closed: list[TextEnv] = []

    def open_one(**kwargs: Any) -> TextEnv:
        env = make("rlsd/Keys-v0", **kwargs)
        env.close = lambda: closed.append(env)  # type: ignore[method-assign]
        return env

    with Background(Listener(openenv_app(open_one, Limits(), name="keys"), sockets=True)) as url:
        talk(url, reset())
        for _ in range(200):
            if closed:
                break
            event_loop.run(_a_moment())
    assert len(closed) == 1


async def _a_moment() -> None:
    import asyncio

    await asyncio.sleep(0.02)
