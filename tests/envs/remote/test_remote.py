"""Environments in worker processes: the same episodes, and faults that stay where they are."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.checker import check_env
from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError, TaskError
from rlsd.envs.registry import make
from rlsd.envs.remote.processes import WorkerPool
from rlsd.envs.remote.wire import RemoteEnv

COIN = str(Path(__file__).parents[3] / "examples" / "coin_env.py") + ":CoinEnv"
MISCHIEF = f"{__file__}:Mischief"


class Mischief(TextEnv):
    """Does what its action says: "raise", "hang", "die", "print"; anything else is a step."""

    def tasks(self) -> Any:
        from rlsd.envs.core import Task

        return [Task(env_id="Mischief", task_id="t0", split="test", task_type="x")]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return "ready", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "raise":
            raise TaskError("as asked")
        if action == "odd":
            raise ZeroDivisionError("as asked")
        if action == "hang":
            threading.Event().wait()
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "print":
            print("noise on the standard output", flush=True)
        if action == "object":
            return "", 0.0, False, False, {"it": object()}
        return action, 1.0, False, False, {"pid": os.getpid()}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


def play(env: TextEnv, task: str, actions: list[str]) -> list[Any]:
    out: list[Any] = [env.reset(seed=3, options={"task": task}), env.hindsight()]
    for action in actions:
        out += [env.step(action), env.hindsight(), env.expert("oracle")]
    return out


def test_same_episode_as_in_this_process(pool: WorkerPool) -> None:
    here, there = make("rlsd/Keys-v0", rooms=4), pool.open("rlsd/Keys-v0", rooms=4)
    assert list(there.tasks()) == list(here.tasks())
    task = here.tasks()[5].task_id
    assert there.content(task) == here.content(task)
    actions = ["go left", "take key", "nonsense \ud800 🙂", "go right", "open door"]
    assert play(there, task, actions) == play(here, task, actions)
    assert there.get_wrapper_attr("hindsight")().plan == here.hindsight().plan
    there.close()
    with pytest.raises(EnvError, match="closed"):
        there.step("look")


def test_the_contract_holds_in_a_worker(pool: WorkerPool) -> None:
    for spec in (COIN, "rlsd/Keys-v0"):
        assert [f for f in check_env(lambda spec=spec: pool.open(spec)) if not f.ok] == []


def test_errors_keep_their_type(pool: WorkerPool) -> None:
    with pytest.raises(EnvError, match="rlsd/Kyes-v0"):
        pool.open("rlsd/Kyes-v0")
    with pytest.raises(EnvError, match="rooms=1"):
        pool.open("rlsd/Keys-v0", rooms=1)
    env = pool.open(MISCHIEF)
    env.reset()
    with pytest.raises(TaskError, match=r"^as asked$"):
        env.step("raise")
    with pytest.raises(EnvError, match="ZeroDivisionError: as asked"):
        env.step("odd")
    with pytest.raises(EnvError, match="object cannot be sent as JSON"):
        env.step("object")
    assert env.step("print")[0] == "print"
    assert isinstance(env, RemoteEnv)
    with pytest.raises(EnvError, match="unknown operation 'fly'"):
        env._ask("fly")
    env.close()


def test_a_crash_is_told_and_the_process_replaced() -> None:
    with WorkerPool(1) as pool:
        env, neighbour = pool.open(MISCHIEF), pool.open(MISCHIEF)
        env.reset()
        with pytest.raises(EnvError, match=r"worker process died \(exit code -9\) during 'step'"):
            env.step("die")
        with pytest.raises(EnvError, match="worker process died"):
            neighbour.reset()
        env.abandon()
        neighbour.abandon()
        again = pool.open(MISCHIEF)
        assert again.reset()[0] == "ready"
        again.close()


def test_a_hanging_environment_leaves_its_neighbours_alone() -> None:
    with WorkerPool(1) as pool:
        env, neighbour = pool.open(MISCHIEF), pool.open(MISCHIEF)
        neighbour.reset()
        pid = neighbour.step("x")[4]["pid"]
        told: list[BaseException] = []

        def hang() -> None:
            try:
                env.step("hang")
            except EnvError as error:
                told.append(error)

        thread = threading.Thread(target=hang)
        thread.start()
        assert neighbour.step("x")[4]["pid"] == pid
        env.abandon()
        fresh = pool.open(MISCHIEF)
        assert fresh.step("x")[4]["pid"] != pid, "a process with a hanging environment takes no new ones"
        assert neighbour.step("x")[4]["pid"] == pid
        neighbour.close()
        thread.join(60)  # the last one has left: the process is gone, and the call with it
        assert [str(e) for e in told] == ["the worker process was ended during 'step'"]
        fresh.close()


def test_workers_end_with_the_pool() -> None:
    pool = WorkerPool(1)
    env = pool.open(MISCHIEF)
    pid = env.step("x")[4]["pid"]
    pool.close()
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the worker process outlived its pool")
