"""rlsd's environments under verifiers' own rollout, against a local endpoint with a scripted agent."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rlsd.envs import EnvError, make
from rlsd.harness.exporting.verifiers import load_environment

pytestmark = pytest.mark.filterwarnings("default", "ignore::pytest.PytestUnraisableExceptionWarning")
"""Warnings and open sockets of verifiers' own."""
GO = re.compile(r"<action>(.*?)</action>")


def next_move(messages: list[dict[str, Any]]) -> str:
    """Sweeps the rooms to the left and back, takes the key where it lies, opens the door where it stands."""
    now = messages[-1]["content"]
    moves = [found[1] for m in messages if m["role"] == "assistant" and (found := GO.search(m["content"]))]
    if "A key lies here" in now:
        return "take key"
    if "locked door is here" in now and ("You hold the key" in now or "take key" in moves):
        return "open door"
    rooms = re.findall(r"You are in room (\d) of 5", " ".join(m["content"] for m in messages if m["role"] == "user"))
    last = next((move for move in reversed(moves) if move.startswith("go")), "go left")
    if rooms[-1] == "1":
        return "go right"
    return "go left" if rooms[-1] == "5" else last


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An OpenAI-compatible endpoint on a thread; its model answers as `next_move` says."""
    asked: list[int] = []

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(len(body["messages"]))
        text = f"<think>I look for the key.</think><action>{next_move(body['messages'])}</action>"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        reply = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        return web.json_response({**reply, "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    loop, ready, port = asyncio.new_event_loop(), threading.Event(), [0]
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port[0] = runner.addresses[0][1]
        ready.set()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(20)
    yield f"http://127.0.0.1:{port[0]}/v1"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


def replayed(task: str, completion: list[Any]) -> tuple[float, bool, int]:
    """Return, success and turns of the same actions in the environment itself."""
    env = make("rlsd/Keys-v0", split="test")
    env.reset(seed=0, options={"task": task})
    total, info, turns = 0.0, {}, 0
    for message in completion:
        if message["role"] == "assistant":
            _, reward, *_, info = env.step(GO.search(message["content"])[1])
            total, turns = total + reward, turns + 1
    return total, info["success"], turns


def test_verifiers_own_rollout_scores_what_the_environment_pays(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("verifiers", reason="needs verifiers")
    from verifiers.types import ClientConfig

    monkeypatch.setenv("STUB_KEY", "none")
    env = load_environment("rlsd/Keys-v0", split="train", eval_split="test", tasks=6)
    client = ClientConfig(api_base_url=endpoint, api_key_var="STUB_KEY", max_retries=0)
    out = env.evaluate_sync(client, model="scripted", num_examples=6, rollouts_per_example=2, max_concurrent=4)
    rollouts = out["outputs"]
    assert len(rollouts) == 12
    for rollout in rollouts:
        assert rollout.get("error") is None
        total, success, turns = replayed(rollout["info"]["task_id"], [dict(m) for m in rollout["completion"]])
        assert rollout["reward"] == pytest.approx(total)
        assert rollout["metrics"]["success"] == float(success) == 1.0
        assert rollout["metrics"]["turns"] == turns
        assert rollout["metrics"]["valid"] == 1.0
        assert rollout["stop_condition"] == "has_final_env_response"
    assert env._open == {}


def test_the_prompt_is_that_of_rlsds_own_runs_and_splits_are_kept_apart() -> None:
    pytest.importorskip("verifiers", reason="needs verifiers")
    env = load_environment("rlsd/Keys-v0", eval_split="test", system_prompt="Be brief.", tasks=3)
    trained, evaluated = env.get_dataset(), env.get_eval_dataset()
    system, first = trained[0]["prompt"]
    assert dict(system)["content"] == "Be brief."
    task = make("rlsd/Keys-v0").tasks()[0].task_id
    assert trained[0]["info"]["task_id"] == task
    observation, _ = make("rlsd/Keys-v0").reset(options={"task": task})
    assert first["content"].endswith(observation)
    assert "<action>" in first["content"]
    ids = [{row["info"]["task_id"] for row in rows} for rows in (trained, evaluated)]
    assert [len(i) for i in ids] == [3, 3]
    assert not ids[0] & ids[1]


def test_a_missing_package_names_the_command_that_installs_it() -> None:
    try:
        import verifiers  # noqa: F401
    except ImportError:
        with pytest.raises(EnvError, match=r"verifiers is not installed: pip install 'rlsd\[verifiers\]'"):
            load_environment("rlsd/Keys-v0")
    else:
        pytest.skip("verifiers is installed")


def test_a_version_of_another_interface_is_refused_with_one_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "verifiers-0.4.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: verifiers\nVersion: 0.4.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EnvError) as caught:
        load_environment("rlsd/Keys-v0")
    told = (
        "verifiers 0.4.0 is installed, expected verifiers>=0.1.14,<0.4 (0.3.1 works): pip install -U 'rlsd[verifiers]'"
    )
    assert str(caught.value) == told
